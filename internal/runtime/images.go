package runtime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/image"
)

// ListImages lists the images, or the one asked for.
func (r *Runtime) ListImages(_ context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	res := &runtimeapi.ListImagesResponse{}
	if ref := req.GetFilter().GetImage().GetImage(); ref != "" {
		if img, err := r.images.Find(ref); err == nil {
			res.Images = append(res.Images, criImage(img))
		}
		return res, nil
	}
	for _, img := range r.images.List() {
		res.Images = append(res.Images, criImage(img))
	}
	return res, nil
}

// ImageStatus describes an image; one that is not here is an empty answer.
func (r *Runtime) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	img, err := r.images.Find(req.GetImage().GetImage())
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	} else if err != nil {
		return nil, err
	}
	res := &runtimeapi.ImageStatusResponse{Image: criImage(img)}
	if req.GetVerbose() {
		res.Info = map[string]string{"config": string(img.RawConfig), "layers": strings.Join(img.Layers, " ")}
	}
	return res, nil
}

// PullImage fetches an image; the answer is its id.
func (r *Runtime) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	img, err := r.images.Pull(ctx, req.GetImage().GetImage(), req.GetAuth(), nil)
	if errors.Is(err, image.ErrNotFound) {
		return nil, status.Error(codes.NotFound, err.Error())
	} else if err != nil {
		return nil, err
	}
	return &runtimeapi.PullImageResponse{ImageRef: img.ID}, nil
}

// RemoveImage removes an image with all its names.
func (r *Runtime) RemoveImage(ctx context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	if err := r.images.Remove(ctx, req.GetImage().GetImage()); err != nil {
		return nil, fmt.Errorf("remove image %q: %w", req.GetImage().GetImage(), err)
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

func criImage(img *image.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: uint64(img.Size),
		Spec: &runtimeapi.ImageSpec{Image: img.ID},
	}
	// USER's first part tells the kubelet whether the image runs as root.
	user, _, _ := strings.Cut(img.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}
