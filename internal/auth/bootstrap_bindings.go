package auth

import rbacv1 "k8s.io/api/rbac/v1"

// clusterRoleBindings give the cluster roles to their users. That of system:node is empty: nodes get their
// rights from the node authorizer.
func clusterRoleBindings() []binding {
	return []binding{
		{name: "cluster-admin", role: "cluster-admin", subjects: []rbacv1.Subject{groupSubject("system:masters")}},
		{name: "system:basic-user", role: "system:basic-user", subjects: []rbacv1.Subject{groupSubject("system:authenticated")}},
		{name: "system:discovery", role: "system:discovery", subjects: []rbacv1.Subject{groupSubject("system:authenticated")}},
		{name: "system:kube-controller-manager", role: "system:kube-controller-manager", subjects: []rbacv1.Subject{userSubject("system:kube-controller-manager")}},
		{name: "system:kube-dns", role: "system:kube-dns", subjects: []rbacv1.Subject{accountSubject("kube-system", "kube-dns")}},
		{name: "system:kube-scheduler", role: "system:kube-scheduler", subjects: []rbacv1.Subject{userSubject("system:kube-scheduler")}},
		{name: "system:monitoring", role: "system:monitoring", subjects: []rbacv1.Subject{groupSubject("system:monitoring")}},
		{name: "system:node", role: "system:node"},
		{name: "system:node-proxier", role: "system:node-proxier", subjects: []rbacv1.Subject{userSubject("system:kube-proxy")}},
		{name: "system:public-info-viewer", role: "system:public-info-viewer", subjects: []rbacv1.Subject{groupSubject("system:authenticated"), groupSubject("system:unauthenticated")}},
		{name: "system:service-account-issuer-discovery", role: "system:service-account-issuer-discovery", subjects: []rbacv1.Subject{groupSubject("system:serviceaccounts")}},
		{name: "system:volume-scheduler", role: "system:volume-scheduler", subjects: []rbacv1.Subject{userSubject("system:kube-scheduler")}},
	}
}

// namespacedRoles are the roles that reach into single namespaces of the system.
func namespacedRoles() []role {
	return []role{
		{namespace: "kube-public", name: "system:controller:bootstrap-signer", rules: []rbacv1.PolicyRule{
			may(read, "core", "configmaps"),
			may("update", "core", "configmaps", "cluster-info"),
			recordEvents(),
		}},
		{namespace: "kube-system", name: "extension-apiserver-authentication-reader", rules: []rbacv1.PolicyRule{
			may(read, "core", "configmaps", "extension-apiserver-authentication"),
		}},
		{namespace: "kube-system", name: "system::leader-locking-kube-controller-manager", rules: []rbacv1.PolicyRule{
			may("create get list update watch", "coordination.k8s.io", "leases"),
			may("create get list update watch", "coordination.k8s.io", "leasecandidates"),
		}},
		{namespace: "kube-system", name: "system::leader-locking-kube-scheduler", rules: []rbacv1.PolicyRule{
			may("create get list update watch", "coordination.k8s.io", "leases"),
			may("create get list update watch", "coordination.k8s.io", "leasecandidates"),
		}},
		{namespace: "kube-system", name: "system:controller:bootstrap-signer", rules: []rbacv1.PolicyRule{
			may(read, "core", "secrets"),
		}},
		{namespace: "kube-system", name: "system:controller:cloud-provider", rules: []rbacv1.PolicyRule{
			may("create get list watch", "core", "configmaps"),
		}},
		{namespace: "kube-system", name: "system:controller:token-cleaner", rules: []rbacv1.PolicyRule{
			may("delete get list watch", "core", "secrets"),
			recordEvents(),
		}},
	}
}

// namespacedRoleBindings give them to the components that need them.
func namespacedRoleBindings() []binding {
	return []binding{
		{namespace: "kube-public", name: "system:controller:bootstrap-signer", role: "system:controller:bootstrap-signer", subjects: []rbacv1.Subject{accountSubject("kube-system", "bootstrap-signer")}},
		{namespace: "kube-system", name: "system::extension-apiserver-authentication-reader", role: "extension-apiserver-authentication-reader", subjects: []rbacv1.Subject{userSubject("system:kube-controller-manager"), userSubject("system:kube-scheduler")}},
		{namespace: "kube-system", name: "system::leader-locking-kube-controller-manager", role: "system::leader-locking-kube-controller-manager", subjects: []rbacv1.Subject{userSubject("system:kube-controller-manager"), accountSubject("kube-system", "kube-controller-manager"), accountSubject("kube-system", "leader-election-controller")}},
		{namespace: "kube-system", name: "system::leader-locking-kube-scheduler", role: "system::leader-locking-kube-scheduler", subjects: []rbacv1.Subject{userSubject("system:kube-scheduler"), accountSubject("kube-system", "kube-scheduler")}},
		{namespace: "kube-system", name: "system:controller:bootstrap-signer", role: "system:controller:bootstrap-signer", subjects: []rbacv1.Subject{accountSubject("kube-system", "bootstrap-signer")}},
		{namespace: "kube-system", name: "system:controller:cloud-provider", role: "system:controller:cloud-provider", subjects: []rbacv1.Subject{accountSubject("kube-system", "cloud-provider")}},
		{namespace: "kube-system", name: "system:controller:token-cleaner", role: "system:controller:token-cleaner", subjects: []rbacv1.Subject{accountSubject("kube-system", "token-cleaner")}},
	}
}
