package legacy

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	nodev1 "k8s.io/api/node/v1"
	nodev1beta1 "k8s.io/api/node/v1beta1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
)

// renamed lists the versions of which nothing but the name has changed.
func renamed() []old {
	storage, oldStorage := storagev1.SchemeGroupVersion, storagev1beta1.SchemeGroupVersion
	alpha := schedulingv1beta1.SchemeGroupVersion.WithKind("PriorityClass")
	alpha.Version = "v1alpha1"
	return []old{
		version(spec[*coordinationv1beta1.Lease, *coordinationv1.Lease]{
			gvk: coordinationv1beta1.SchemeGroupVersion.WithKind("Lease"), of: coordinationv1.SchemeGroupVersion.WithKind("Lease"), list: &coordinationv1beta1.LeaseList{},
		}),
		version(spec[*nodev1beta1.RuntimeClass, *nodev1.RuntimeClass]{
			gvk: nodev1beta1.SchemeGroupVersion.WithKind("RuntimeClass"), of: nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), list: &nodev1beta1.RuntimeClassList{},
		}),
		version(spec[*schedulingv1beta1.PriorityClass, *schedulingv1.PriorityClass]{
			gvk: schedulingv1beta1.SchemeGroupVersion.WithKind("PriorityClass"), of: schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), list: &schedulingv1beta1.PriorityClassList{},
		}),
		version(spec[*schedulingv1beta1.PriorityClass, *schedulingv1.PriorityClass]{
			gvk: alpha, of: schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), list: &schedulingv1beta1.PriorityClassList{}, deprecated: 14, removed: 17,
		}),
		version(spec[*networkingv1beta1.IPAddress, *networkingv1.IPAddress]{
			gvk: networkingv1beta1.SchemeGroupVersion.WithKind("IPAddress"), of: networkingv1.SchemeGroupVersion.WithKind("IPAddress"), list: &networkingv1beta1.IPAddressList{},
		}),
		version(spec[*networkingv1beta1.ServiceCIDR, *networkingv1.ServiceCIDR]{
			gvk: networkingv1beta1.SchemeGroupVersion.WithKind("ServiceCIDR"), of: networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"), list: &networkingv1beta1.ServiceCIDRList{},
		}),
		version(spec[*storagev1beta1.StorageClass, *storagev1.StorageClass]{gvk: oldStorage.WithKind("StorageClass"), of: storage.WithKind("StorageClass"), list: &storagev1beta1.StorageClassList{}}),
		version(spec[*storagev1beta1.VolumeAttachment, *storagev1.VolumeAttachment]{gvk: oldStorage.WithKind("VolumeAttachment"), of: storage.WithKind("VolumeAttachment"), list: &storagev1beta1.VolumeAttachmentList{}}),
		version(spec[*storagev1beta1.CSIDriver, *storagev1.CSIDriver]{gvk: oldStorage.WithKind("CSIDriver"), of: storage.WithKind("CSIDriver"), list: &storagev1beta1.CSIDriverList{}}),
		version(spec[*storagev1beta1.CSINode, *storagev1.CSINode]{gvk: oldStorage.WithKind("CSINode"), of: storage.WithKind("CSINode"), list: &storagev1beta1.CSINodeList{}}),
		version(spec[*storagev1beta1.CSIStorageCapacity, *storagev1.CSIStorageCapacity]{gvk: oldStorage.WithKind("CSIStorageCapacity"), of: storage.WithKind("CSIStorageCapacity"), list: &storagev1beta1.CSIStorageCapacityList{}}),
		version(spec[*storagev1beta1.VolumeAttributesClass, *storagev1.VolumeAttributesClass]{gvk: oldStorage.WithKind("VolumeAttributesClass"), of: storage.WithKind("VolumeAttributesClass"), list: &storagev1beta1.VolumeAttributesClassList{}}),
		version(spec[*apiregistrationv1beta1.APIService, *apiregistrationv1.APIService]{
			gvk: apiregistrationv1beta1.SchemeGroupVersion.WithKind("APIService"), of: apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), list: &apiregistrationv1beta1.APIServiceList{},
			deprecated: 19, removed: 22,
		}),
	}
}
