package core

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

const fileMode = "must be a number between 0 and 0777 (octal), both inclusive"

// checkVolumes judges the volumes and notes the sound ones, which containers
// may mount.
func (c *podCheck) checkVolumes(p *field.Path) {
	c.volumes = make(map[string]*corev1.VolumeSource, len(c.spec.Volumes))
	made := sets.Set[string]{} // claims that ephemeral volumes of this pod will make
	if c.pod != nil && c.pod.Name != "" {
		for _, v := range c.spec.Volumes {
			if v.Ephemeral != nil {
				made.Insert(c.pod.Name + "-" + v.Name)
			}
		}
	}
	for i := range c.spec.Volumes {
		v, at := &c.spec.Volumes[i], p.Index(i)
		before := len(c.Errs)
		c.checkVolume(v, at)
		if v.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Add(meta.Label1123(v.Name, at.Child("name")))
		}
		if c.volumes[v.Name] != nil {
			c.Duplicate(at.Child("name"), v.Name)
		}
		if len(c.Errs) == before {
			c.volumes[v.Name] = &v.VolumeSource
		}
		if claim := v.PersistentVolumeClaim; claim != nil && made.Has(claim.ClaimName) {
			c.Invalid(at.Child("persistentVolumeClaim", "claimName"), claim.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// sources tells whether a volume has exactly one source, and lets each say its
// own faults.
type sources struct {
	c *podCheck
	p *field.Path
	n int
	// first, where not empty, is the source that counts among several; otherwise
	// it is the first that is tried.
	first string
}

func (s *sources) try(set bool, name string, check func(*field.Path)) {
	switch {
	case !set:
	case s.n > 0, s.first != "" && s.first != name:
		s.c.Forbidden(s.p.Child(name), "may not specify more than 1 volume type")
	default:
		s.n++
		check(s.p.Child(name))
	}
}

func (c *podCheck) checkVolume(v *corev1.Volume, p *field.Path) {
	src := &v.VolumeSource
	s := &sources{c: c, p: p, first: firstSource(src)}
	s.try(src.EmptyDir != nil, "emptyDir", func(p *field.Path) {
		if q := src.EmptyDir.SizeLimit; q != nil && q.Sign() < 0 {
			c.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	})
	s.try(src.HostPath != nil, "hostPath", func(p *field.Path) {
		h := src.HostPath
		if h.Path == "" {
			c.Required(p.Child("path"), "")
			return
		}
		c.checkNoBacksteps(h.Path, p.Child("path"))
		meta.AmongPtr(&c.Report, p.Child("type"), h.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
	})
	s.try(src.Secret != nil, "secret", func(p *field.Path) {
		c.RequiredIf(src.Secret.SecretName == "", p.Child("secretName"))
		c.checkMode(src.Secret.DefaultMode, p.Child("defaultMode"))
		c.checkItems(src.Secret.Items, p.Child("items"))
	})
	s.try(src.NFS != nil, "nfs", func(p *field.Path) {
		c.RequiredIf(src.NFS.Server == "", p.Child("server"))
		c.RequiredIf(src.NFS.Path == "", p.Child("path"))
		if !path.IsAbs(src.NFS.Path) {
			c.Invalid(p.Child("path"), src.NFS.Path, "must be an absolute path")
		}
	})
	s.try(src.PersistentVolumeClaim != nil, "persistentVolumeClaim", func(p *field.Path) {
		c.RequiredIf(src.PersistentVolumeClaim.ClaimName == "", p.Child("claimName"))
	})
	s.try(src.DownwardAPI != nil, "downwardAPI", func(p *field.Path) {
		c.checkMode(src.DownwardAPI.DefaultMode, p.Child("defaultMode"))
		for i := range src.DownwardAPI.Items {
			c.checkDownwardFile(&src.DownwardAPI.Items[i], p)
		}
	})
	s.try(src.ConfigMap != nil, "configMap", func(p *field.Path) {
		c.RequiredIf(src.ConfigMap.Name == "", p.Child("name"))
		c.checkMode(src.ConfigMap.DefaultMode, p.Child("defaultMode"))
		c.checkItems(src.ConfigMap.Items, p.Child("items"))
	})
	s.try(src.Projected != nil, "projected", func(p *field.Path) { c.checkProjected(src.Projected, p) })
	s.try(src.CSI != nil, "csi", func(p *field.Path) {
		c.Add(ValidateCSIDriverName(src.CSI.Driver, p.Child("driver")))
		if ref := src.CSI.NodePublishSecretRef; ref != nil {
			if ref.Name == "" {
				c.Required(p.Child("nodePublishSecretRef", "name"), "")
			} else {
				c.Named(p.Child("name"), ref.Name, meta.DNSSubdomain)
			}
		}
	})
	s.try(src.Ephemeral != nil, "ephemeral", func(at *field.Path) {
		if t := src.Ephemeral.VolumeClaimTemplate; t == nil {
			c.Required(at.Child("volumeClaimTemplate"), "")
		} else {
			c.Add(validateClaimTemplate(t, at.Child("volumeClaimTemplate")))
		}
		if c.pod != nil && c.pod.Name != "" && v.Name != "" {
			claim := c.pod.Name + "-" + v.Name
			for _, msg := range meta.DNSSubdomain(claim, false) {
				c.Invalid(p.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, msg))
			}
		}
	})
	s.try(src.Image != nil, "image", func(p *field.Path) {
		c.RequiredIf(c.pod != nil && src.Image.Reference == "", p.Child("reference"))
		c.checkPullPolicy(src.Image.PullPolicy, p.Child("pullPolicy"))
	})
	s.legacy(v)
	if s.n == 0 {
		c.Required(p, "must specify a volume type")
	}
}

// firstSource names the source of a volume that counts, as upstream orders them.
func firstSource(v *corev1.VolumeSource) string {
	for _, s := range []struct {
		set  bool
		name string
	}{
		{v.EmptyDir != nil, "emptyDir"}, {v.HostPath != nil, "hostPath"}, {v.GitRepo != nil, "gitRepo"},
		{v.GCEPersistentDisk != nil, "gcePersistentDisk"}, {v.AWSElasticBlockStore != nil, "awsElasticBlockStore"}, {v.Secret != nil, "secret"},
		{v.NFS != nil, "nfs"}, {v.ISCSI != nil, "iscsi"}, {v.Glusterfs != nil, "glusterfs"}, {v.Flocker != nil, "flocker"},
		{v.PersistentVolumeClaim != nil, "persistentVolumeClaim"}, {v.RBD != nil, "rbd"}, {v.Cinder != nil, "cinder"}, {v.CephFS != nil, "cephFS"},
		{v.Quobyte != nil, "quobyte"}, {v.DownwardAPI != nil, "downwardAPI"}, {v.FC != nil, "fc"}, {v.FlexVolume != nil, "flexVolume"},
		{v.ConfigMap != nil, "configMap"}, {v.AzureFile != nil, "azureFile"}, {v.VsphereVolume != nil, "vsphereVolume"},
		{v.PhotonPersistentDisk != nil, "photonPersistentDisk"}, {v.PortworxVolume != nil, "portworxVolume"}, {v.AzureDisk != nil, "azureDisk"},
		{v.StorageOS != nil, "storageos"}, {v.Projected != nil, "projected"}, {v.ScaleIO != nil, "scaleIO"}, {v.CSI != nil, "csi"},
		{v.Ephemeral != nil, "ephemeral"}, {v.Image != nil, "image"},
	} {
		if s.set {
			return s.name
		}
	}
	return ""
}

func (c *podCheck) checkMode(m *int32, p *field.Path) {
	if m != nil && (*m < 0 || *m > 0o777) {
		c.Invalid(p, *m, fileMode)
	}
}

func (c *podCheck) checkItems(items []corev1.KeyToPath, p *field.Path) {
	for i, it := range items {
		at := p.Index(i)
		c.RequiredIf(it.Key == "", at.Child("key"))
		c.RequiredIf(it.Path == "", at.Child("path"))
		c.checkRelative(it.Path, at.Child("path"))
		c.checkMode(it.Mode, at.Child("mode"))
	}
}

func (c *podCheck) checkDownwardFile(f *corev1.DownwardAPIVolumeFile, p *field.Path) {
	c.RequiredIf(f.Path == "", p.Child("path"))
	c.checkRelative(f.Path, p.Child("path"))
	switch {
	case f.FieldRef != nil:
		c.checkFieldRef(f.FieldRef, fileFields, p.Child("fieldRef"))
		if f.ResourceFieldRef != nil {
			c.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case f.ResourceFieldRef != nil:
		c.checkResourceFieldRef(f.ResourceFieldRef, p.Child("resourceFieldRef"), true)
	default:
		c.Required(p, "one of fieldRef and resourceFieldRef is required")
	}
	c.checkMode(f.Mode, p.Child("mode"))
}

// The life a projected token may be asked for, in seconds.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

func (c *podCheck) checkProjected(v *corev1.ProjectedVolumeSource, p *field.Path) {
	c.checkMode(v.DefaultMode, p.Child("defaultMode"))
	taken := sets.Set[string]{}
	take := func(file, owner string) {
		if file == "" {
			return
		}
		if taken.Has(file) {
			c.Invalid(p, owner, "conflicting duplicate paths")
		}
		taken.Insert(file)
	}
	for i, src := range v.Sources {
		at, n := p.Child("sources").Index(i), 0
		named := func(kind, name string, items []corev1.KeyToPath) {
			n++
			c.RequiredIf(name == "", at.Child(kind, "name"))
			c.checkItems(items, at.Child(kind, "items"))
			for _, it := range items {
				take(it.Path, name)
			}
		}
		if s := src.Secret; s != nil {
			named("secret", s.Name, s.Items)
		}
		if s := src.ConfigMap; s != nil {
			named("configMap", s.Name, s.Items)
		}
		if s := src.DownwardAPI; s != nil {
			n++
			for j := range s.Items {
				c.checkDownwardFile(&s.Items[j], at.Child("downwardAPI"))
				take(s.Items[j].Path, s.Items[j].Path)
			}
		}
		if s := src.ServiceAccountToken; s != nil {
			n++
			life := at.Child("serviceAccountToken", "expirationSeconds")
			if s.ExpirationSeconds != nil && *s.ExpirationSeconds < minTokenSeconds {
				c.Invalid(life, *s.ExpirationSeconds, "may not specify a duration less than 10 minutes")
			}
			if s.ExpirationSeconds != nil && *s.ExpirationSeconds > maxTokenSeconds {
				c.Invalid(life, *s.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds")
			}
			if s.Path == "" {
				c.Required(p.Child("path"), "")
			} else {
				c.checkRelative(s.Path, p.Child("path"))
			}
		}
		c.ForbiddenIf(n > 1, at, "may not specify more than 1 volume type per source")
	}
}

// checkNoBacksteps refuses paths that climb.
func (c *podCheck) checkNoBacksteps(v string, p *field.Path) {
	if slices.Contains(strings.Split(v, "/"), "..") {
		c.Invalid(p, v, "must not contain '..'")
	}
}

// checkDescending wants a relative path that does not climb.
func (c *podCheck) checkDescending(v string, p *field.Path) {
	if path.IsAbs(v) {
		c.Invalid(p, v, "must be a relative path")
	}
	c.checkNoBacksteps(v, p)
}

// checkRelative is checkDescending for files in volumes that are replaced as a
// whole: their first dots are taken by the directories that do it.
func (c *podCheck) checkRelative(v string, p *field.Path) {
	c.checkDescending(v, p)
	if strings.HasPrefix(v, "..") && !strings.HasPrefix(v, "../") {
		c.Invalid(p, v, "must not start with '..'")
	}
}

func (c *podCheck) checkMounts(ctr *corev1.Container, p *field.Path) {
	paths := sets.Set[string]{}
	for i, m := range ctr.VolumeMounts {
		at := p.Index(i)
		c.RequiredIf(m.Name == "", at.Child("name"))
		if c.volumes[m.Name] == nil {
			c.NotFound(at.Child("name"), m.Name)
		}
		c.RequiredIf(m.MountPath == "", at.Child("mountPath"))
		if paths.Has(m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		paths.Insert(m.MountPath)
		if slices.ContainsFunc(ctr.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			c.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if deviceAt(ctr.VolumeDevices, m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		if m.SubPath != "" {
			c.checkDescending(m.SubPath, p.Child("subPath"))
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				c.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			c.checkDescending(m.SubPathExpr, p.Child("subPathExpr"))
		}
		if m.MountPropagation != nil {
			meta.Among(&c.Report, p.Child("mountPropagation"), *m.MountPropagation, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
			privileged := ctr.SecurityContext != nil && ctr.SecurityContext.Privileged != nil && *ctr.SecurityContext.Privileged
			c.ForbiddenIf(*m.MountPropagation == corev1.MountPropagationBidirectional && !privileged, p.Child("mountPropagation"),
				"Bidirectional mount propagation is available only to privileged containers")
		}
		if m.RecursiveReadOnly != nil {
			rro := p.Child("recursiveReadOnly")
			meta.Among(&c.Report, rro, *m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
			if *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyIfPossible {
				c.ForbiddenIf(!m.ReadOnly, rro, "may only be specified when readOnly is true")
				c.ForbiddenIf(m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone, rro, "may only be specified when mountPropagation is None or not specified")
			}
		}
	}
}

// deviceAt and mountAt tell whether a path is taken. Of several entries with one
// name, which are refused anyway, the last counts.
func deviceAt(list []corev1.VolumeDevice, path string) bool {
	for i, d := range list {
		if d.DevicePath == path && !slices.ContainsFunc(list[i+1:], func(l corev1.VolumeDevice) bool { return l.Name == d.Name }) {
			return true
		}
	}
	return false
}

func mountAt(list []corev1.VolumeMount, path string) bool {
	for i, m := range list {
		if m.MountPath == path && !slices.ContainsFunc(list[i+1:], func(l corev1.VolumeMount) bool { return l.Name == m.Name }) {
			return true
		}
	}
	return false
}

func (c *podCheck) checkDevices(ctr *corev1.Container, p *field.Path) {
	names, paths := sets.Set[string]{}, sets.Set[string]{}
	for i, d := range ctr.VolumeDevices {
		at := p.Index(i)
		c.RequiredIf(d.Name == "", at.Child("name"))
		if names.Has(d.Name) {
			c.Invalid(at.Child("name"), d.Name, "must be unique")
		}
		if src := c.volumes[d.Name]; src == nil {
			c.NotFound(at.Child("name"), d.Name)
		} else if src.PersistentVolumeClaim == nil && src.Ephemeral == nil {
			c.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		c.RequiredIf(d.DevicePath == "", at.Child("devicePath"))
		if paths.Has(d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if slices.Contains(strings.Split(d.DevicePath, "/"), "..") {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths.Insert(d.DevicePath)
		}
		if slices.ContainsFunc(ctr.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == d.Name }) {
			c.Invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if mountAt(ctr.VolumeMounts, d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
}

// maxCSIDriverName bounds what plugins must fit in paths of sockets.
const maxCSIDriverName = 63

// ValidateCSIDriverName judges the name of a CSI driver.
func ValidateCSIDriverName(name string, p *field.Path) field.ErrorList {
	var r meta.Report
	if name == "" {
		r.Required(p, "")
		return r.Errs
	}
	if len(name) > maxCSIDriverName {
		r.TooLong(p, maxCSIDriverName)
	}
	r.InvalidAll(p, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
	return r.Errs
}
