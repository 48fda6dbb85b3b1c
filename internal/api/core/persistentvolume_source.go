package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// checkVolumeObjectSource judges where a persistent volume's data is: in
// exactly one place.
func (c *podCheck) checkVolumeObjectSource(v *corev1.PersistentVolumeSpec, name string, p *field.Path) {
	s := &sources{c: c, p: p}
	// shared are the types that volumes of pods have too
	shared := func(src corev1.VolumeSource) func(*field.Path) {
		return func(*field.Path) { c.checkVolume(&corev1.Volume{VolumeSource: src}, p) }
	}
	need := func(p *field.Path, fields ...string) { // name, value pairs
		for i := 0; i < len(fields); i += 2 {
			c.RequiredIf(fields[i+1] == "", p.Child(fields[i]))
		}
	}
	secret := func(ref *corev1.SecretReference, p *field.Path) {
		if ref != nil {
			need(p.Child("secretRef"), "name", ref.Name, "namespace", ref.Namespace)
		}
	}
	s.try(v.HostPath != nil, "hostPath", shared(corev1.VolumeSource{HostPath: v.HostPath}))
	s.try(v.GCEPersistentDisk != nil, "gcePersistentDisk", shared(corev1.VolumeSource{GCEPersistentDisk: v.GCEPersistentDisk}))
	s.try(v.AWSElasticBlockStore != nil, "awsElasticBlockStore", shared(corev1.VolumeSource{AWSElasticBlockStore: v.AWSElasticBlockStore}))
	s.try(v.Glusterfs != nil, "glusterfs", func(p *field.Path) {
		g := v.Glusterfs
		need(p, "endpoints", g.EndpointsName, "path", g.Path)
		if n := g.EndpointsNamespace; n != nil && *n == "" {
			c.Invalid(p.Child("endpointsNamespace"), *n, "if the endpointnamespace is set, it must be a valid namespace name")
		} else if n != nil {
			c.Named(p.Child("endpointsNamespace"), *n, meta.Namespace)
		}
	})
	s.try(v.Flocker != nil, "flocker", shared(corev1.VolumeSource{Flocker: v.Flocker}))
	s.try(v.NFS != nil, "nfs", shared(corev1.VolumeSource{NFS: v.NFS}))
	s.try(v.RBD != nil, "rbd", func(p *field.Path) {
		c.RequiredIf(len(v.RBD.CephMonitors) == 0, p.Child("monitors"))
		need(p, "image", v.RBD.RBDImage)
	})
	s.try(v.Quobyte != nil, "quobyte", shared(corev1.VolumeSource{Quobyte: v.Quobyte}))
	s.try(v.CephFS != nil, "cephFS", func(*field.Path) { c.RequiredIf(len(v.CephFS.Monitors) == 0, p.Child("cephfs", "monitors")) })
	s.try(v.ISCSI != nil, "iscsi", func(p *field.Path) { c.checkISCSIObject(v.ISCSI, name, p) })
	s.try(v.Cinder != nil, "cinder", func(p *field.Path) {
		need(p, "volumeID", v.Cinder.VolumeID)
		secret(v.Cinder.SecretRef, p)
	})
	s.try(v.FC != nil, "fc", shared(corev1.VolumeSource{FC: v.FC}))
	if f := v.FlexVolume; f != nil { // may stand beside another, an oversight that old objects rely on
		s.n++
		shared(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: f.Driver, Options: f.Options}})(nil)
	}
	s.try(v.AzureFile != nil, "azureFile", func(p *field.Path) {
		need(p, "secretName", v.AzureFile.SecretName, "shareName", v.AzureFile.ShareName)
		if n := v.AzureFile.SecretNamespace; n != nil {
			need(p, "secretNamespace", *n)
		}
	})
	s.try(v.VsphereVolume != nil, "vsphereVolume", shared(corev1.VolumeSource{VsphereVolume: v.VsphereVolume}))
	s.try(v.PhotonPersistentDisk != nil, "photonPersistentDisk", shared(corev1.VolumeSource{PhotonPersistentDisk: v.PhotonPersistentDisk}))
	s.try(v.PortworxVolume != nil, "portworxVolume", shared(corev1.VolumeSource{PortworxVolume: v.PortworxVolume}))
	s.try(v.AzureDisk != nil, "azureDisk", shared(corev1.VolumeSource{AzureDisk: v.AzureDisk}))
	s.try(v.ScaleIO != nil, "scaleIO", func(p *field.Path) {
		need(p, "gateway", v.ScaleIO.Gateway, "system", v.ScaleIO.System, "volumeName", v.ScaleIO.VolumeName)
	})
	s.try(v.Local != nil, "local", func(at *field.Path) {
		if v.Local.Path == "" {
			c.Required(at.Child("path"), "")
		} else {
			c.checkNoBacksteps(v.Local.Path, at.Child("path"))
		}
		if v.NodeAffinity == nil {
			c.Required(p.Child("nodeAffinity"), "Local volume requires node affinity")
		}
	})
	s.try(v.StorageOS != nil, "storageos", func(p *field.Path) {
		o := v.StorageOS
		need(p, "volumeName", o.VolumeName)
		for name, v := range map[string]string{"volumeName": o.VolumeName, "volumeNamespace": o.VolumeNamespace} {
			if v != "" {
				c.Add(meta.Label1123(v, p.Child(name)))
			}
		}
		if o.SecretRef != nil {
			need(p.Child("secretRef"), "name", o.SecretRef.Name, "namespace", o.SecretRef.Namespace)
		}
	})
	s.try(v.CSI != nil, "csi", func(p *field.Path) { c.checkCSIObject(v.CSI, p) })
	if s.n == 0 {
		c.Required(p, "must specify a volume type")
	}
}

func (c *podCheck) checkISCSIObject(v *corev1.ISCSIPersistentVolumeSource, name string, p *field.Path) {
	format := func(at *field.Path, v string) {
		if form := iscsiNames[v[:min(len(v), 3)]]; form == nil || !form.MatchString(v) {
			c.Invalid(at, v, "must be valid format")
		}
	}
	c.RequiredIf(v.TargetPortal == "", p.Child("targetPortal"))
	if v.InitiatorName != nil && len(name)+1+len(v.TargetPortal) > maxISCSITarget {
		c.Invalid(p.Child("targetportal"), v.TargetPortal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
	if v.IQN == "" {
		c.Required(p.Child("iqn"), "")
	} else {
		format(p.Child("iqn"), v.IQN)
	}
	c.checkLUN(v.Lun, p.Child("lun"))
	c.RequiredIf((v.DiscoveryCHAPAuth || v.SessionCHAPAuth) && v.SecretRef == nil, p.Child("secretRef"))
	c.RequiredIf(v.SecretRef != nil && v.SecretRef.Name == "", p.Child("secretRef", "name"))
	if v.InitiatorName != nil {
		format(p.Child("initiatorname"), *v.InitiatorName)
	}
}

func (c *podCheck) checkCSIObject(v *corev1.CSIPersistentVolumeSource, p *field.Path) {
	c.Add(ValidateCSIDriverName(v.Driver, p.Child("driver")))
	c.RequiredIf(v.VolumeHandle == "", p.Child("volumeHandle"))
	for _, s := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", v.ControllerPublishSecretRef}, {"controllerExpandSecretRef", v.ControllerExpandSecretRef},
		{"nodePublishSecretRef", v.NodePublishSecretRef}, {"nodeExpandSecretRef", v.NodeExpandSecretRef},
	} {
		if s.ref == nil {
			continue
		}
		at := p.Child(s.name)
		if s.ref.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Add(meta.Subdomain1123(s.ref.Name, at.Child("name")))
		}
		if s.ref.Namespace == "" {
			c.Required(at.Child("namespace"), "")
		} else {
			c.Add(meta.Label1123(s.ref.Namespace, at.Child("namespace")))
		}
	}
}
