package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// audience refuses tokens for an audience that neither the pod's volumes ask
// for nor the kubelet is allowed by right.
func (k *kubelets) audience(ctx context.Context, a *Attributes, req *authenticationv1.TokenRequest, pod *corev1.Pod) error {
	want := ""
	switch len(req.Spec.Audiences) {
	case 0:
	case 1:
		want = req.Spec.Audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	found, err := k.asksFor(pod, want)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", want, err)
	}
	if found {
		return nil
	}
	decision, _, err := k.d.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.User, Verb: "request-serviceaccounts-token-audience", Namespace: a.Namespace, APIVersion: "v1",
		Resource: want, Name: a.Name, ResourceRequest: true,
	})
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil:
		return fmt.Errorf("audience %q not found in pod spec volume, error authorizing %s to request tokens for this audience: %w", want, a.User.GetName(), err)
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", want, a.User.GetName())
}

// asksFor tells whether a volume of the pod needs a token for an audience.
func (k *kubelets) asksFor(pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
					return true, nil
				}
			}
		}
		driver, err := k.driverOf(pod, v)
		if err != nil {
			errs = append(errs, err)
		}
		if driver == "" {
			continue
		}
		d, ok := k.drivers.Get("", driver)
		if !ok {
			errs = append(errs, apierrors.NewNotFound(storagev1.Resource("csidriver.storage.k8s.io"), driver))
			continue
		}
		if slices.ContainsFunc(d.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience }) {
			return true, nil
		}
	}
	return false, utilerrors.NewAggregate(errs)
}

// driverOf is the CSI driver that serves a volume, "" for none.
func (k *kubelets) driverOf(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	name := ""
	switch {
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		name = pod.Name + "-" + v.Name
	case v.PersistentVolumeClaim != nil:
		name = v.PersistentVolumeClaim.ClaimName
	case v.CSI != nil:
		return v.CSI.Driver, nil
	default:
		return migrated(v.AWSElasticBlockStore != nil, v.GCEPersistentDisk != nil, v.AzureDisk != nil, v.AzureFile != nil, v.Cinder != nil, v.VsphereVolume != nil, v.PortworxVolume != nil), nil
	}
	claim, ok := k.claims.Get(pod.Namespace, name)
	if !ok {
		return "", apierrors.NewNotFound(corev1.Resource("persistentvolumeclaims"), name)
	}
	pv, ok := k.volumes.Get("", claim.Spec.VolumeName)
	if !ok {
		return "", apierrors.NewNotFound(corev1.Resource("persistentvolumes"), claim.Spec.VolumeName)
	}
	if pv.Spec.CSI != nil {
		return pv.Spec.CSI.Driver, nil
	}
	s := &pv.Spec.PersistentVolumeSource
	return migrated(s.AWSElasticBlockStore != nil, s.GCEPersistentDisk != nil, s.AzureDisk != nil, s.AzureFile != nil, s.Cinder != nil, s.VsphereVolume != nil, s.PortworxVolume != nil), nil
}

// migrated is the CSI driver that now serves volumes which name a cloud's disk
// in the old way.
func migrated(aws, gce, azureDisk, azureFile, cinder, vsphere, portworx bool) string {
	switch {
	case aws:
		return "ebs.csi.aws.com"
	case gce:
		return "pd.csi.storage.gke.io"
	case azureDisk:
		return "disk.csi.azure.com"
	case azureFile:
		return "file.csi.azure.com"
	case cinder:
		return "cinder.csi.openstack.org"
	case vsphere:
		return "csi.vsphere.vmware.com"
	case portworx:
		return "pxd.portworx.com"
	}
	return ""
}
