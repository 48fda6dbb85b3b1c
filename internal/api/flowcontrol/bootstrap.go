package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// Users and groups that the schemas of every cluster are for.
const (
	privilegedGroup      = "system:masters"
	nodesGroup           = "system:nodes"
	accountsGroup        = "system:serviceaccounts"
	authenticatedGroup   = "system:authenticated"
	unauthenticatedGroup = "system:unauthenticated"
	controllerManager    = "system:kube-controller-manager"
	scheduler            = "system:kube-scheduler"
)

// Bootstrap gives the objects every cluster begins with: the suggested ones,
// then the mandatory ones, levels before the schemas that refer to them. Each
// call makes new objects. Mandatory objects are put right whenever they differ;
// suggested ones only while they carry flowcontrolv1.AutoUpdateAnnotationKey
// "true".
func Bootstrap() []api.Object {
	var out []api.Object
	for _, l := range suggestedLevels() {
		out = append(out, l)
	}
	for _, s := range suggestedSchemas() {
		out = append(out, s)
	}
	for _, l := range mandatoryLevels() {
		out = append(out, l)
	}
	for _, s := range mandatorySchemas() {
		out = append(out, s)
	}
	return out
}

// Mandatory tells whether Bootstrap's object of this name is mandatory.
func Mandatory(o api.Object) bool {
	switch o.(type) {
	case *flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration:
		return o.GetName() == flowcontrolv1.FlowSchemaNameExempt || o.GetName() == flowcontrolv1.FlowSchemaNameCatchAll
	}
	return false
}

func bootstrapMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}
}

func mandatoryLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	zero, lend, five := int32(0), int32(0), int32(5)
	none := int32(0)
	return []*flowcontrolv1.PriorityLevelConfiguration{
		{ObjectMeta: bootstrapMeta(flowcontrolv1.PriorityLevelConfigurationNameCatchAll), Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &five, LendablePercent: &none,
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}},
		}},
		{ObjectMeta: bootstrapMeta(flowcontrolv1.PriorityLevelConfigurationNameExempt), Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type:   flowcontrolv1.PriorityLevelEnablementExempt,
			Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{NominalConcurrencyShares: &zero, LendablePercent: &lend},
		}},
	}
}

func suggestedLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	level := func(name string, shares, lendable, queues, hand int32) *flowcontrolv1.PriorityLevelConfiguration {
		return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: bootstrapMeta(name), Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares, LendablePercent: &lendable,
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue,
					Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: defaultQueueLength}}},
		}}
	}
	return []*flowcontrolv1.PriorityLevelConfiguration{
		level("system", 30, 33, 64, 6),
		level("node-high", 40, 25, 64, 6),
		level("leader-election", 10, 0, 16, 4),
		level("workload-high", 40, 50, 128, 6),
		level("workload-low", 100, 90, 128, 6),
		level("global-default", 20, 50, 128, 6),
	}
}

const (
	byUser      = flowcontrolv1.FlowDistinguisherMethodByUserType
	byNamespace = flowcontrolv1.FlowDistinguisherMethodByNamespaceType
)

func flowSchema(name, level string, precedence int32, method flowcontrolv1.FlowDistinguisherMethodType, rule flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	s := &flowcontrolv1.FlowSchema{ObjectMeta: bootstrapMeta(name), Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
		MatchingPrecedence:         precedence,
		Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{rule},
	}}
	if method != "" {
		s.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: method}
	}
	return s
}

func groups(names ...string) (out []flowcontrolv1.Subject) {
	for _, n := range names {
		out = append(out, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: n}})
	}
	return out
}

func users(names ...string) (out []flowcontrolv1.Subject) {
	for _, n := range names {
		out = append(out, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: n}})
	}
	return out
}

func systemAccounts() []flowcontrolv1.Subject {
	return []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Name: flowcontrolv1.NameAll, Namespace: metav1.NamespaceSystem}}}
}

// everywhere is a rule about resources of one group in every namespace.
func everywhere(verbs []string, group string, resources []string, clusterScope bool) flowcontrolv1.ResourcePolicyRule {
	return flowcontrolv1.ResourcePolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources,
		Namespaces: []string{flowcontrolv1.NamespaceEvery}, ClusterScope: clusterScope}
}

// anything is the rule that matches all requests of the subjects.
func anything(subjects []flowcontrolv1.Subject) flowcontrolv1.PolicyRulesWithSubjects {
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:         subjects,
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{everywhere([]string{all}, all, []string{all}, true)},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{all}, NonResourceURLs: []string{all}}},
	}
}

func mandatorySchemas() []*flowcontrolv1.FlowSchema {
	return []*flowcontrolv1.FlowSchema{
		flowSchema(flowcontrolv1.FlowSchemaNameExempt, flowcontrolv1.PriorityLevelConfigurationNameExempt, 1, "", anything(groups(privilegedGroup))),
		flowSchema(flowcontrolv1.FlowSchemaNameCatchAll, flowcontrolv1.PriorityLevelConfigurationNameCatchAll, flowcontrolv1.FlowSchemaMaxMatchingPrecedence, byUser,
			anything(groups(unauthenticatedGroup, authenticatedGroup))),
	}
}

func suggestedSchemas() []*flowcontrolv1.FlowSchema {
	const coordination, leases = "coordination.k8s.io", "leases"
	anyone := groups(unauthenticatedGroup, authenticatedGroup)
	return []*flowcontrolv1.FlowSchema{
		flowSchema("system-nodes", "system", 500, byUser, anything(groups(nodesGroup))),
		flowSchema("system-node-high", "node-high", 400, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: groups(nodesGroup),
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				everywhere([]string{all}, "", []string{"nodes", "nodes/status"}, true),
				everywhere([]string{all}, coordination, []string{leases}, false),
			},
		}),
		flowSchema("probes", flowcontrolv1.PriorityLevelConfigurationNameExempt, 2, "", flowcontrolv1.PolicyRulesWithSubjects{
			Subjects:         anyone,
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}}},
		}),
		flowSchema("system-leader-election", "leader-election", 100, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects:      append(users(controllerManager, scheduler), systemAccounts()...),
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{everywhere([]string{"get", "create", "update"}, coordination, []string{leases}, false)},
		}),
		flowSchema("kube-controller-manager", "workload-high", 800, byNamespace, anything(users(controllerManager))),
		flowSchema("kube-scheduler", "workload-high", 800, byNamespace, anything(users(scheduler))),
		flowSchema("kube-system-service-accounts", "workload-high", 900, byNamespace, anything(systemAccounts())),
		flowSchema("service-accounts", "workload-low", 9000, byUser, anything(groups(accountsGroup))),
		flowSchema("global-default", "global-default", 9900, byUser, anything(anyone)),
	}
}
