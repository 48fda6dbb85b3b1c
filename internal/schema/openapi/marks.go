package openapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"sync"
)

// mark is what the API says of a field or type in comments only.
type mark struct {
	optional, required bool     // against what the json tag says
	bare               bool     // no default
	value              any      // the default
	listType           string   // x-kubernetes-list-type
	listKeys           []string // x-kubernetes-list-map-keys
	mapType            string   // x-kubernetes-map-type
	unions             any      // x-kubernetes-unions
}

// none is the list type of a field that has none.
const none = "-"

// marks are parsed on first use, by the name of the field or type.
var marks = sync.OnceValue(func() map[string]mark {
	out := map[string]mark{}
	for line := range strings.Lines(markTable) {
		words := strings.Fields(line)
		m := mark{}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			switch name {
			case "optional":
				m.optional = true
			case "required":
				m.required = true
			case "nodefault":
				m.bare = true
			case "default":
				m.value = parseJSON(value)
			case "list":
				m.listType = value
			case "keys":
				m.listType, m.listKeys = "map", strings.Split(value, ",")
			case "map":
				m.mapType = value
			case "unions":
				m.unions = parseJSON(value)
			}
		}
		out["io.k8s."+words[0]] = m
	}
	maps.Copy(out, generated().marks)
	return out
})

func parseJSON(text string) any {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic("openapi: mark " + text + ": " + err.Error())
	}
	return v
}

// listType gives how a list merges: by the keys of its items where patches know
// one, and whole otherwise. The items of lists of objects are no such field.
func listType(key, name string, t reflect.Type, patchKey string, m mark) (string, []string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() != reflect.Slice || m.listType == none:
		return "", nil
	case m.listType != "":
		return m.listType, m.listKeys
	case t.Elem().Kind() == reflect.Uint8:
		return "", nil
	case patchKey != "":
		return "map", []string{patchKey}
	case name == "items" && strings.HasSuffix(key, "List"):
		return "", nil
	}
	return "atomic", nil
}

// typeWords describe types that carry no words of their own.
var typeWords = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity is a fixed-point number with an optional suffix: a decimal exponent (\"1e3\"), " +
		"a decimal suffix (n u m k M G T P E) or a binary one (Ki Mi Gi Ti Pi Ei). Examples: \"100m\", \"1.5Gi\", \"2\".\n\n" +
		"It is written in canonical form: without fractional digits, and with the largest suffix that allows it. " +
		"No value may exceed 2^63-1 in magnitude nor have more than three decimal places; larger ones are capped, finer ones rounded up.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":      "Time is a moment to the second, written as RFC 3339.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "MicroTime is a moment to the microsecond, written as RFC 3339.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Duration":  "Duration is a length of time such as \"1h30m\".",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString is a field that holds either a number or a string, " +
		"such as a port by number or by name.",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":    "RawExtension holds an object of any kind.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent": "WatchEvent is one event that a watch sends: what happened, and the object it happened to.",
	"io.k8s.apimachinery.pkg.version.Info":            "Info tells the version of a server.",
}

// markTable: a name below io.k8s, then what its comments say of it.
//   - optional, required: whether the field must be there
//   - default=JSON, nodefault
//   - list=set|atomic|-, keys=a,b: how a list merges, where not by its patch key
//   - map=atomic|granular, unions=JSON
const markTable = `api.admissionregistration.v1.MatchResources map=atomic
api.admissionregistration.v1.NamedRuleWithOperations map=atomic
api.admissionregistration.v1.ParamKind map=atomic
api.admissionregistration.v1.ParamRef map=atomic
api.admissionregistration.v1.ValidatingAdmissionPolicyBinding.spec required
api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec.policyName required
api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec.validationActions required list=set
api.admissionregistration.v1.ValidatingAdmissionPolicyStatus.conditions keys=type
api.admissionregistration.v1.Variable map=atomic
api.apps.v1.ControllerRevision.data nodefault
api.apps.v1.StatefulSetOrdinals.start optional
api.apps.v1.StatefulSetSpec.serviceName optional
api.apps.v1.StatefulSetStatus.availableReplicas optional
api.authentication.v1.TokenRequest.spec optional
api.authentication.v1.TokenRequestSpec.audiences optional
api.authentication.v1.TokenRequestSpec.boundObjectRef optional
api.authentication.v1.TokenRequestSpec.expirationSeconds optional
api.authentication.v1.TokenRequestStatus.expirationTimestamp optional
api.authentication.v1.TokenRequestStatus.token optional
api.authentication.v1.TokenReviewSpec.token required
api.autoscaling.v1.CrossVersionObjectReference map=atomic
api.autoscaling.v1.HorizontalPodAutoscaler.spec required
api.autoscaling.v1.ScaleSpec.replicas default=0
api.autoscaling.v2.HorizontalPodAutoscaler.spec required
api.autoscaling.v2.HorizontalPodAutoscalerStatus.currentMetrics optional
api.batch.v1.CronJob.spec required
api.batch.v1.JobStatus.conditions list=atomic
api.batch.v1.PodFailurePolicyOnExitCodesRequirement.values list=set
api.batch.v1.PodFailurePolicyOnPodConditionsPattern.status optional
api.batch.v1.UncountedTerminatedPods.failed list=set
api.batch.v1.UncountedTerminatedPods.succeeded list=set
api.certificates.v1.CertificateSigningRequestStatus.conditions keys=type
api.core.v1.AppArmorProfile unions=[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]
api.core.v1.AzureDiskVolumeSource.cachingMode default="ReadWrite"
api.core.v1.AzureDiskVolumeSource.fsType default="ext4"
api.core.v1.AzureDiskVolumeSource.kind default="Shared"
api.core.v1.AzureDiskVolumeSource.readOnly default=false
api.core.v1.AzureFilePersistentVolumeSource.secretNamespace optional
api.core.v1.ConfigMapEnvSource.name default=""
api.core.v1.ConfigMapKeySelector map=atomic
api.core.v1.ConfigMapKeySelector.name default=""
api.core.v1.ConfigMapProjection.name default=""
api.core.v1.ConfigMapVolumeSource.name default=""
api.core.v1.Container.ports keys=containerPort,protocol
api.core.v1.ContainerImage.names optional
api.core.v1.ContainerPort.protocol default="TCP"
api.core.v1.ContainerRestartRule.action required
api.core.v1.ContainerRestartRuleOnExitCodes.operator required
api.core.v1.ContainerRestartRuleOnExitCodes.values list=set
api.core.v1.EndpointAddress map=atomic
api.core.v1.EndpointPort map=atomic
api.core.v1.EphemeralContainer.ports keys=containerPort,protocol
api.core.v1.Event.reportingComponent optional
api.core.v1.Event.reportingInstance optional
api.core.v1.FileKeySelector map=atomic
api.core.v1.FileKeySelector.optional default=false
api.core.v1.GRPCAction.service optional default=""
api.core.v1.ISCSIPersistentVolumeSource.iscsiInterface default="default"
api.core.v1.ISCSIVolumeSource.iscsiInterface default="default"
api.core.v1.ImageVolumeStatus.imageRef required
api.core.v1.LocalObjectReference map=atomic
api.core.v1.LocalObjectReference.name default=""
api.core.v1.NodeAllocatableResourceClaimStatus.containers list=set
api.core.v1.NodeRuntimeHandler.name optional
api.core.v1.NodeSelector map=atomic
api.core.v1.NodeSelectorTerm map=atomic
api.core.v1.NodeSpec.podCIDRs list=set
api.core.v1.ObjectFieldSelector map=atomic
api.core.v1.ObjectReference map=atomic
api.core.v1.PersistentVolumeClaimStatus.allocatedResourceStatuses map=granular
api.core.v1.PersistentVolumeSpec.claimRef map=granular
api.core.v1.PodCertificateProjection.keyType required
api.core.v1.PodCertificateProjection.signerName required
api.core.v1.PodSchedulingGroup unions=[{"fields-to-discriminateBy":{"podGroupName":"PodGroupName"}}]
api.core.v1.PodSpec.nodeSelector map=atomic
api.core.v1.PodSpec.topologySpreadConstraints keys=topologyKey,whenUnsatisfiable
api.core.v1.PodStatus.hostIPs list=atomic
api.core.v1.ProjectedVolumeSource.sources optional
api.core.v1.RBDPersistentVolumeSource.keyring default="/etc/ceph/keyring"
api.core.v1.RBDPersistentVolumeSource.pool default="rbd"
api.core.v1.RBDPersistentVolumeSource.user default="admin"
api.core.v1.RBDVolumeSource.keyring default="/etc/ceph/keyring"
api.core.v1.RBDVolumeSource.pool default="rbd"
api.core.v1.RBDVolumeSource.user default="admin"
api.core.v1.ReplicationControllerSpec.minReadySeconds default=0
api.core.v1.ReplicationControllerSpec.replicas default=1
api.core.v1.ReplicationControllerSpec.selector map=atomic
api.core.v1.ResourceFieldSelector map=atomic
api.core.v1.ResourceRequirements.claims keys=name
api.core.v1.ResourceStatus.resources keys=resourceID
api.core.v1.ScaleIOPersistentVolumeSource.fsType default="xfs"
api.core.v1.ScaleIOPersistentVolumeSource.storageMode default="ThinProvisioned"
api.core.v1.ScaleIOVolumeSource.fsType default="xfs"
api.core.v1.ScaleIOVolumeSource.storageMode default="ThinProvisioned"
api.core.v1.ScopeSelector map=atomic
api.core.v1.SeccompProfile unions=[{"discriminator":"type","fields-to-discriminateBy":{"localhostProfile":"LocalhostProfile"}}]
api.core.v1.SecretEnvSource.name default=""
api.core.v1.SecretKeySelector map=atomic
api.core.v1.SecretKeySelector.name default=""
api.core.v1.SecretProjection.name default=""
api.core.v1.SecretReference map=atomic
api.core.v1.ServicePort.protocol default="TCP"
api.core.v1.ServiceSpec.ports keys=port,protocol
api.core.v1.ServiceSpec.selector map=atomic
api.core.v1.TopologySelectorTerm map=atomic
api.core.v1.TypedLocalObjectReference map=atomic
api.core.v1.TypedLocalObjectReference.apiGroup optional
api.core.v1.TypedObjectReference.apiGroup optional
api.discovery.v1.Endpoint.addresses list=set
api.discovery.v1.EndpointPort map=atomic
api.discovery.v1.EndpointSlice.endpoints optional
api.discovery.v1.EndpointSlice.ports optional
api.events.v1.Event.metadata optional
api.flowcontrol.v1.FlowSchemaSpec.matchingPrecedence optional
api.flowcontrol.v1.LimitResponse unions=[{"discriminator":"type","fields-to-discriminateBy":{"queuing":"Queuing"}}]
api.flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares optional
api.flowcontrol.v1.NonResourcePolicyRule.nonResourceURLs list=set
api.flowcontrol.v1.NonResourcePolicyRule.verbs list=set
api.flowcontrol.v1.PriorityLevelConfigurationSpec unions=[{"discriminator":"type","fields-to-discriminateBy":{"exempt":"Exempt","limited":"Limited"}}]
api.flowcontrol.v1.QueuingConfiguration.handSize optional
api.flowcontrol.v1.QueuingConfiguration.queueLengthLimit optional
api.flowcontrol.v1.QueuingConfiguration.queues optional
api.flowcontrol.v1.ResourcePolicyRule.apiGroups list=set
api.flowcontrol.v1.ResourcePolicyRule.namespaces optional list=set
api.flowcontrol.v1.ResourcePolicyRule.resources list=set
api.flowcontrol.v1.ResourcePolicyRule.verbs list=set
api.flowcontrol.v1.Subject unions=[{"discriminator":"kind","fields-to-discriminateBy":{"group":"Group","serviceAccount":"ServiceAccount","user":"User"}}]
api.networking.v1.IPAddress.spec required
api.networking.v1.IPAddressSpec.parentRef required
api.networking.v1.IngressClassParametersReference.scope optional
api.networking.v1.NetworkPolicySpec.podSelector optional
api.networking.v1.ParentReference.name required
api.networking.v1.ParentReference.resource required
api.networking.v1.ServiceBackendPort map=atomic
api.node.v1.Scheduling.nodeSelector map=atomic
api.policy.v1.PodDisruptionBudgetStatus.currentHealthy optional
api.policy.v1.PodDisruptionBudgetStatus.desiredHealthy optional
api.policy.v1.PodDisruptionBudgetStatus.disruptionsAllowed optional
api.policy.v1.PodDisruptionBudgetStatus.expectedPods optional
api.rbac.v1.ClusterRole.rules optional
api.rbac.v1.Role.rules optional
api.rbac.v1.RoleRef map=atomic
api.rbac.v1.RoleRef.apiGroup optional
api.rbac.v1.Subject map=atomic
api.resource.v1.AllocatedDeviceStatus.conditions optional keys=type
api.resource.v1.CapacityRequestPolicy.default optional
api.resource.v1.CapacityRequestPolicyRange.min required
api.resource.v1.CounterSet.counters required
api.resource.v1.DeviceClaim.requests optional
api.resource.v1.DeviceCounterConsumption.counters required
api.resource.v1.DeviceToleration.operator default="Equal"
api.resource.v1.OpaqueDeviceConfiguration.parameters nodefault
api.resource.v1.ResourceClaimSpec.devices optional
api.resource.v1.ResourceClaimStatus.devices keys=driver,device,pool,shareID
api.scheduling.v1.PriorityClass.value optional
api.storage.v1.CSIDriverSpec.volumeLifecycleModes list=set
api.storage.v1.CSINodeDriver.topologyKeys optional
apimachinery.pkg.apis.meta.v1.APIResource.verbs list=-
apimachinery.pkg.apis.meta.v1.LabelSelector map=atomic
apimachinery.pkg.apis.meta.v1.ObjectMeta.finalizers list=set
apimachinery.pkg.apis.meta.v1.OwnerReference map=atomic
apimachinery.pkg.apis.meta.v1.WatchEvent.object nodefault
`
