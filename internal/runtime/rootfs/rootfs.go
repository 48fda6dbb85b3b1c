// Package rootfs mounts what containers see as their root: image layers below, a
// writable directory on top, by overlayfs.
//
// It touches the mount table at the paths it is given. Needs root; tested with the
// runtime.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount lays the layers (lowest first) and the writable upper directory over each
// other at target. Without upper the result is read-only.
func Mount(target string, layers []string, upper, work string) error {
	if len(layers) == 0 {
		return errors.New("mount root filesystem: image has no layers")
	}
	for _, dir := range []string{target, upper, work} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("mount root filesystem: %w", err)
		}
	}
	if upper == "" && len(layers) == 1 {
		// Overlayfs wants two layers where none is writable.
		if err := unix.Mount(layers[0], target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount root filesystem: %w", err)
		}
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			_ = unix.Unmount(target, unix.MNT_DETACH)
			return fmt.Errorf("mount root filesystem: %w", err)
		}
		return nil
	}
	err := mountByCalls(target, layers, upper, work)
	if err != nil {
		// Kernels before 6.5 take all layers in one option.
		if old := mountByOption(target, layers, upper, work); old != nil {
			return fmt.Errorf("mount root filesystem: %w", errors.Join(err, old))
		}
	}
	return nil
}

func mountByCalls(target string, layers []string, upper, work string) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fd)
	for i := len(layers) - 1; i >= 0; i-- {
		if err := unix.FsconfigSetString(fd, "lowerdir+", layers[i]); err != nil {
			return fmt.Errorf("layer %s: %w", layers[i], err)
		}
	}
	if upper != "" {
		if err := unix.FsconfigSetString(fd, "upperdir", upper); err != nil {
			return fmt.Errorf("upper directory: %w", err)
		}
		if err := unix.FsconfigSetString(fd, "workdir", work); err != nil {
			return fmt.Errorf("work directory: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("create overlay: %w", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move mount: %w", err)
	}
	return nil
}

func mountByOption(target string, layers []string, upper, work string) error {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace
	reversed := make([]string, 0, len(layers))
	for i := len(layers) - 1; i >= 0; i-- {
		reversed = append(reversed, escape(layers[i]))
	}
	options := "lowerdir=" + strings.Join(reversed, ":")
	if upper != "" {
		options += ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
	}
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("the image's %d layers do not fit one mount on this kernel", len(layers))
	}
	return unix.Mount("overlay", target, "overlay", 0, options)
}

// Unmount takes away what is mounted at target, if anything.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// UnmountBelow takes away everything mounted at dir or below it, deepest first.
func UnmountBelow(dir string) error {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	points := below(string(body), dir)
	var errs []error
	for i := len(points) - 1; i >= 0; i-- { // later mounts lie over earlier ones
		if err := Unmount(points[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func below(mountinfo, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if point == dir || strings.HasPrefix(point, strings.TrimSuffix(dir, "/")+"/") {
			points = append(points, point)
		}
	}
	return points
}
