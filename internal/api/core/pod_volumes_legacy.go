package core

import (
	"net"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// iscsiNames are the three forms of an iSCSI name.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// maxISCSITarget bounds <volume name>:<portal> where an initiator is named.
const maxISCSITarget = 64

// legacy judges the sources whose drivers were once part of Kubernetes. The
// fields remain in the API, so that they remain checked.
func (s *sources) legacy(v *corev1.Volume) {
	c, src := s.c, &v.VolumeSource
	partition := func(n int32, p *field.Path) {
		if n < 0 || n > 255 {
			c.Invalid(p.Child("partition"), n, validation.InclusiveRangeError(1, 255))
		}
	}
	need := func(p *field.Path, fields ...string) { // name, value pairs
		for i := 0; i < len(fields); i += 2 {
			c.RequiredIf(fields[i+1] == "", p.Child(fields[i]))
		}
	}
	s.try(src.GitRepo != nil, "gitRepo", func(p *field.Path) {
		need(p, "repository", src.GitRepo.Repository)
		c.checkDescending(src.GitRepo.Directory, p.Child("directory"))
	})
	s.try(src.GCEPersistentDisk != nil, "gcePersistentDisk", func(*field.Path) {
		p := s.p.Child("persistentDisk") // the path upstream reports
		need(p, "pdName", src.GCEPersistentDisk.PDName)
		partition(src.GCEPersistentDisk.Partition, p)
	})
	s.try(src.AWSElasticBlockStore != nil, "awsElasticBlockStore", func(p *field.Path) {
		need(p, "volumeID", src.AWSElasticBlockStore.VolumeID)
		partition(src.AWSElasticBlockStore.Partition, p)
	})
	s.try(src.ISCSI != nil, "iscsi", func(p *field.Path) { c.checkISCSI(src.ISCSI, p) })
	if i := src.ISCSI; i != nil && i.InitiatorName != nil && len(v.Name)+1+len(i.TargetPortal) > maxISCSITarget {
		c.Invalid(s.p.Child("name"), v.Name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
	s.try(src.Glusterfs != nil, "glusterfs", func(p *field.Path) {
		need(p, "endpoints", src.Glusterfs.EndpointsName, "path", src.Glusterfs.Path)
	})
	s.try(src.Flocker != nil, "flocker", func(p *field.Path) {
		name, uuid := src.Flocker.DatasetName, src.Flocker.DatasetUUID
		if name == "" && uuid == "" {
			c.Required(p, "one of datasetName and datasetUUID is required")
		}
		if name != "" && uuid != "" {
			c.Invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously")
		}
		if strings.Contains(name, "/") {
			c.Invalid(p.Child("datasetName"), name, "must not contain '/'")
		}
	})
	s.try(src.RBD != nil, "rbd", func(p *field.Path) {
		c.RequiredIf(len(src.RBD.CephMonitors) == 0, p.Child("monitors"))
		need(p, "image", src.RBD.RBDImage)
	})
	s.try(src.Cinder != nil, "cinder", func(p *field.Path) {
		need(p, "volumeID", src.Cinder.VolumeID)
		c.RequiredIf(src.Cinder.SecretRef != nil && src.Cinder.SecretRef.Name == "", p.Child("secretRef", "name"))
	})
	s.try(src.CephFS != nil, "cephFS", func(*field.Path) {
		c.RequiredIf(len(src.CephFS.Monitors) == 0, s.p.Child("cephfs", "monitors"))
	})
	s.try(src.Quobyte != nil, "quobyte", func(p *field.Path) {
		const pairs = "must be a host:port pair or multiple pairs separated by commas"
		q := src.Quobyte
		switch {
		case q.Registry == "":
			c.Required(p.Child("registry"), pairs)
		case len(q.Tenant) >= 65:
			c.Required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
		default:
			for _, pair := range strings.Split(q.Registry, ",") {
				if _, _, err := net.SplitHostPort(pair); err != nil {
					c.Invalid(p.Child("registry"), q.Registry, pairs)
				}
			}
		}
		need(p, "volume", q.Volume)
	})
	s.try(src.FC != nil, "fc", func(p *field.Path) {
		f, at := src.FC, p.Child("targetWWNs")
		if len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0 {
			c.Required(at, "must specify either targetWWNs or wwids, but not both")
		}
		if len(f.TargetWWNs) == 0 {
			return
		}
		if len(f.WWIDs) != 0 {
			c.Invalid(at, f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
		}
		if f.Lun == nil {
			c.Required(p.Child("lun"), "lun is required if targetWWNs is specified")
		} else {
			c.checkLUN(*f.Lun, p.Child("lun"))
		}
	})
	s.try(src.FlexVolume != nil, "flexVolume", func(p *field.Path) {
		need(p, "driver", src.FlexVolume.Driver)
		for k := range src.FlexVolume.Options {
			domain, _, _ := strings.Cut(k, "/")
			domain = "." + strings.ToLower(domain)
			if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
				c.Invalid(p.Child("options").Key(k), k, "kubernetes.io and k8s.io namespaces are reserved")
			}
		}
	})
	s.try(src.AzureFile != nil, "azureFile", func(p *field.Path) {
		need(p, "secretName", src.AzureFile.SecretName, "shareName", src.AzureFile.ShareName)
	})
	s.try(src.VsphereVolume != nil, "vsphereVolume", func(p *field.Path) { need(p, "volumePath", src.VsphereVolume.VolumePath) })
	s.try(src.PhotonPersistentDisk != nil, "photonPersistentDisk", func(p *field.Path) { need(p, "pdID", src.PhotonPersistentDisk.PdID) })
	s.try(src.PortworxVolume != nil, "portworxVolume", func(p *field.Path) { need(p, "volumeID", src.PortworxVolume.VolumeID) })
	s.try(src.AzureDisk != nil, "azureDisk", func(p *field.Path) { c.checkAzureDisk(src.AzureDisk, p) })
	s.try(src.StorageOS != nil, "storageos", func(p *field.Path) {
		o := src.StorageOS
		need(p, "volumeName", o.VolumeName)
		for name, v := range map[string]string{"volumeName": o.VolumeName, "volumeNamespace": o.VolumeNamespace} {
			if v != "" {
				c.Add(meta.Label1123(v, p.Child(name)))
			}
		}
		c.RequiredIf(o.SecretRef != nil && o.SecretRef.Name == "", p.Child("secretRef", "name"))
	})
	s.try(src.ScaleIO != nil, "scaleIO", func(p *field.Path) {
		need(p, "gateway", src.ScaleIO.Gateway, "system", src.ScaleIO.System, "volumeName", src.ScaleIO.VolumeName)
	})
}

func (c *podCheck) checkLUN(n int32, p *field.Path) {
	if n < 0 || n > 255 {
		c.Invalid(p, n, validation.InclusiveRangeError(0, 255))
	}
}

func (c *podCheck) checkISCSI(v *corev1.ISCSIVolumeSource, p *field.Path) {
	name := func(at *field.Path, v string) {
		form := iscsiNames[v[:min(len(v), 3)]]
		if form == nil {
			c.Invalid(at, v, "must be valid format starting with iqn, eui, or naa")
		} else if !form.MatchString(v) {
			c.Invalid(at, v, "must be valid format")
		}
	}
	c.RequiredIf(v.TargetPortal == "", p.Child("targetPortal"))
	if v.IQN == "" {
		c.Required(p.Child("iqn"), "")
	} else {
		name(p.Child("iqn"), v.IQN)
	}
	c.checkLUN(v.Lun, p.Child("lun"))
	c.RequiredIf((v.DiscoveryCHAPAuth || v.SessionCHAPAuth) && v.SecretRef == nil, p.Child("secretRef"))
	if v.InitiatorName != nil {
		name(p.Child("initiatorname"), *v.InitiatorName)
	}
}

func (c *podCheck) checkAzureDisk(d *corev1.AzureDiskVolumeSource, p *field.Path) {
	c.RequiredIf(d.DiskName == "", p.Child("diskName"))
	c.RequiredIf(d.DataDiskURI == "", p.Child("diskURI"))
	meta.AmongPtr(&c.Report, p.Child("cachingMode"), d.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	if d.Kind == nil {
		return
	}
	kinds := []corev1.AzureDataDiskKind{corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk}
	slices.Sort(kinds)
	meta.Among(&c.Report, p.Child("kind"), *d.Kind, kinds...)
	start, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *d.Kind == corev1.AzureManagedDisk {
		start, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(d.DataDiskURI, start) {
		meta.Among(&c.Report, p.Child("diskURI"), d.DataDiskURI, form)
	}
}
