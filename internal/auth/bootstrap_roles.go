package auth

import rbacv1 "k8s.io/api/rbac/v1"

// clusterRoles are the roles of people, of the control plane's parts and of nodes.
func clusterRoles() []role {
	return []role{
		{name: "admin", gathers: "admin"},
		{name: "cluster-admin", rules: []rbacv1.PolicyRule{
			may("*", "*", "*"),
			visit("*", "*"),
		}},
		{name: "edit", feeds: "admin", gathers: "edit"},
		{name: "system:aggregate-to-admin", feeds: "admin", rules: []rbacv1.PolicyRule{
			may("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			may(readWrite, "rbac.authorization.k8s.io", "rolebindings roles"),
		}},
		{name: "system:aggregate-to-edit", feeds: "edit", rules: []rbacv1.PolicyRule{
			may(read, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
			may("impersonate", "core", "serviceaccounts"),
			may(write, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
			may("create", "core", "pods/eviction"),
			may(write, "core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
			may("create", "core", "serviceaccounts/token"),
			may(write, "core events.k8s.io", "events"),
			may(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
			may(write, "autoscaling", "horizontalpodautoscalers"),
			may(write, "batch", "cronjobs jobs"),
			may(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"),
			may(write, "policy", "poddisruptionbudgets"),
			may(write, "networking.k8s.io", "ingresses networkpolicies"),
			may(readWrite, "coordination.k8s.io", "leases"),
			may(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
		}},
		{name: "system:aggregate-to-view", feeds: "view", rules: []rbacv1.PolicyRule{
			may(read, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
			may(read, "core", "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status"),
			may(read, "core", "namespaces"),
			may(read, "core events.k8s.io", "events"),
			may(read, "discovery.k8s.io", "endpointslices"),
			may(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
			may(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
			may(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
			may(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"),
			may(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
			may(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
			may(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
		}},
		{name: "system:auth-delegator", rules: []rbacv1.PolicyRule{
			may("create", "authentication.k8s.io", "tokenreviews"),
			may("create", "authorization.k8s.io", "subjectaccessreviews"),
		}},
		{name: "system:basic-user", rules: []rbacv1.PolicyRule{
			may("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			may("create", "authentication.k8s.io", "selfsubjectreviews"),
		}},
		{name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient", rules: []rbacv1.PolicyRule{
			may("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
		}},
		{name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", rules: []rbacv1.PolicyRule{
			may("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
		}},
		{name: "system:certificates.k8s.io:kube-apiserver-client-approver", rules: []rbacv1.PolicyRule{
			may("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client"),
		}},
		{name: "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", rules: []rbacv1.PolicyRule{
			may("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
		}},
		{name: "system:certificates.k8s.io:kubelet-serving-approver", rules: []rbacv1.PolicyRule{
			may("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving"),
		}},
		{name: "system:certificates.k8s.io:legacy-unknown-approver", rules: []rbacv1.PolicyRule{
			may("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown"),
		}},
		{name: "system:discovery", rules: []rbacv1.PolicyRule{
			visit("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"),
		}},
		{name: "system:heapster", rules: []rbacv1.PolicyRule{
			may(read, "core", "events namespaces nodes pods"),
			may(read, "extensions", "deployments"),
		}},
		{name: "system:kube-aggregator", rules: []rbacv1.PolicyRule{
			may(read, "core", "endpoints services"),
		}},
		{name: "system:kube-controller-manager", rules: []rbacv1.PolicyRule{
			recordEvents(),
			may("create", "coordination.k8s.io", "leases"),
			may("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
			may("create", "core", "secrets serviceaccounts"),
			may("delete", "core", "secrets"),
			may("get", "core", "configmaps namespaces secrets serviceaccounts"),
			may("update", "core", "secrets serviceaccounts"),
			may("create", "authentication.k8s.io", "tokenreviews"),
			may("create", "authorization.k8s.io", "subjectaccessreviews"),
			may("list watch", "*", "*"),
			may("create", "core", "serviceaccounts/token"),
		}},
		{name: "system:kube-dns", rules: []rbacv1.PolicyRule{
			may("list watch", "core", "endpoints services"),
		}},
		{name: "system:kube-scheduler", rules: []rbacv1.PolicyRule{
			recordEvents(),
			may("create", "coordination.k8s.io", "leases"),
			may("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
			may(readWrite, "coordination.k8s.io", "leasecandidates"),
			may(read, "core", "nodes"),
			may("delete get list watch", "core", "pods"),
			may("create", "core", "bindings pods/binding"),
			may("patch update", "core", "pods/status"),
			may(read, "core", "replicationcontrollers services"),
			may(read, "apps extensions", "replicasets"),
			may(read, "apps", "statefulsets"),
			may(read, "policy", "poddisruptionbudgets"),
			may(read, "core", "persistentvolumeclaims persistentvolumes"),
			may("create", "authentication.k8s.io", "tokenreviews"),
			may("create", "authorization.k8s.io", "subjectaccessreviews"),
			may(read, "storage.k8s.io", "csinodes"),
			may(read, "storage.k8s.io", "volumeattachments"),
			may(read, "core", "namespaces"),
			may(read, "storage.k8s.io", "csidrivers"),
			may(read, "storage.k8s.io", "csistoragecapacities"),
			may(read, "resource.k8s.io", "deviceclasses"),
			may("get list patch update watch", "resource.k8s.io", "resourceclaims"),
			may("get list patch update watch", "resource.k8s.io", "resourceclaims/status"),
			may("update", "core", "pods/finalizers"),
			may(read, "resource.k8s.io", "resourceslices"),
			may("create delete", "resource.k8s.io", "resourceclaims"),
			may("patch update", "resource.k8s.io", "resourceclaims/binding"),
		}},
		{name: "system:kubelet-api-admin", rules: []rbacv1.PolicyRule{
			may(read, "core", "nodes"),
			may("proxy", "core", "nodes"),
			may("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
			may("*", "core", "nodes/configz nodes/healthz nodes/pods"),
		}},
		{name: "system:monitoring", rules: []rbacv1.PolicyRule{
			visit("get", "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz"),
			may("get", "core", "nodes/metrics"),
		}},
		{name: "system:node", rules: nodeRules()},
		{name: "system:node-bootstrapper", rules: []rbacv1.PolicyRule{
			may("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
		}},
		{name: "system:node-problem-detector", rules: []rbacv1.PolicyRule{
			may("get", "core", "nodes"),
			may("patch", "core", "nodes/status"),
			recordEvents(),
		}},
		{name: "system:node-proxier", rules: []rbacv1.PolicyRule{
			may("list watch", "core", "endpoints services"),
			may(read, "core", "nodes"),
			recordEvents(),
			may("list watch", "networking.k8s.io", "servicecidrs"),
			may("list watch", "discovery.k8s.io", "endpointslices"),
		}},
		{name: "system:persistent-volume-provisioner", rules: []rbacv1.PolicyRule{
			may("create delete get list watch", "core", "persistentvolumes"),
			may("get list update watch", "core", "persistentvolumeclaims"),
			may(read, "storage.k8s.io", "storageclasses"),
			may("watch", "core", "events"),
			recordEvents(),
		}},
		{name: "system:public-info-viewer", rules: []rbacv1.PolicyRule{
			visit("get", "/healthz /livez /readyz /version /version/"),
		}},
		{name: "system:service-account-issuer-discovery", rules: []rbacv1.PolicyRule{
			visit("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"),
		}},
		{name: "system:volume-scheduler", rules: []rbacv1.PolicyRule{
			may("get list patch update watch", "core", "persistentvolumes"),
			may(read, "storage.k8s.io", "storageclasses"),
			may("get list patch update watch", "core", "persistentvolumeclaims"),
		}},
		{name: "view", feeds: "edit", gathers: "view"},
	}
}

// nodeRules is what a kubelet may do. The role is bound to nobody: the node authorizer applies these rules,
// after narrowing those about single objects to what concerns the node.
func nodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		may("create", "authentication.k8s.io", "tokenreviews"),
		may("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
		may(read, "core", "services"),
		may("create get list watch", "core", "nodes"),
		may("patch update", "core", "nodes/status"),
		may("patch update", "core", "nodes"),
		recordEvents(),
		may(read, "core", "pods"),
		may("create delete", "core", "pods"),
		may("patch update", "core", "pods/status"),
		may("create", "core", "pods/eviction"),
		may(read, "core", "configmaps secrets"),
		may("get", "core", "persistentvolumeclaims persistentvolumes"),
		may("get", "core", "endpoints"),
		may("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
		may("create delete get patch update", "coordination.k8s.io", "leases"),
		may("get", "storage.k8s.io", "volumeattachments"),
		may("create", "core", "serviceaccounts/token"),
		may("get patch update", "core", "persistentvolumeclaims/status"),
		may(read, "storage.k8s.io", "csidrivers"),
		may("create delete get patch update", "storage.k8s.io", "csinodes"),
		may(read, "node.k8s.io", "runtimeclasses"),
		may("get", "resource.k8s.io", "resourceclaims"),
		may("deletecollection", "resource.k8s.io", "resourceslices"),
		may("get", "core", "serviceaccounts"),
	}
}
