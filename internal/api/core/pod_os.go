package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// Monohull runs no Windows nodes itself, but a cluster of it may have some,
// and the fields are of the API everywhere.

const (
	maxCredentialSpecKiB = 64
	maxUserDomain        = 256
	maxUserName          = 104
)

var (
	controlChars   = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSDomain  = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain      = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	badUserChars   = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	onlyDotsSpaces = regexp.MustCompile(`^[\. ]+$`)
)

func (c *podCheck) checkWindowsOptions(w *corev1.WindowsSecurityContextOptions, p *field.Path) {
	if w == nil {
		return
	}
	if n := w.GMSACredentialSpecName; n != nil {
		c.InvalidAll(p.Child("gmsaCredentialSpecName"), n, validation.IsDNS1123Subdomain(*n))
	}
	if s := w.GMSACredentialSpec; s != nil {
		at := p.Child("gmsaCredentialSpec")
		if *s == "" {
			c.Invalid(at, s, "gmsaCredentialSpec cannot be an empty string")
		} else if len(*s) > maxCredentialSpecKiB*1024 {
			c.Invalid(at, s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialSpecKiB))
		}
	}
	if n := w.RunAsUserName; n != nil {
		for _, msg := range windowsUserName(*n) {
			c.Invalid(p.Child("runAsUserName"), n, "runAsUserName"+msg)
		}
	}
}

func windowsUserName(name string) (msgs []string) {
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return []string{" cannot be an empty string"}
	case controlChars.MatchString(name):
		return []string{" cannot contain control characters"}
	case len(parts) > 2:
		return []string{" cannot contain more than one backslash"}
	}
	user := parts[len(parts)-1]
	if len(parts) == 2 {
		domain := parts[0]
		if len(domain) >= maxUserDomain {
			msgs = append(msgs, fmt.Sprintf("'s Domain length must be under %d characters", maxUserDomain))
		}
		if !netBIOSDomain.MatchString(domain) && !dnsDomain.MatchString(domain) {
			msgs = append(msgs, "'s Domain doesn't match the NetBios nor the DNS format")
		}
	}
	if user == "" {
		msgs = append(msgs, "'s User cannot be empty")
	} else if len(user) > maxUserName {
		msgs = append(msgs, fmt.Sprintf("'s User length must not be longer than %d characters", maxUserName))
	}
	if onlyDotsSpaces.MatchString(user) {
		msgs = append(msgs, "'s User cannot contain only periods or spaces")
	}
	if badUserChars.MatchString(user) {
		msgs = append(msgs, `'s User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return msgs
}

// checkHostProcess wants all containers of a pod to be Windows host processes,
// or none.
func (c *podCheck) checkHostProcess(p *field.Path) {
	var ofPod *bool
	if sc := c.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		ofPod = sc.WindowsOptions.HostProcess
	}
	all, host := 0, 0
	eachContainer(c.spec, p, func(ctr *corev1.Container, p *field.Path) {
		all++
		v := ofPod
		if sc := ctr.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			v = sc.WindowsOptions.HostProcess
			if ofPod != nil && *v != *ofPod {
				c.Invalid(p.Child("securityContext", "windowsOptions", "hostProcess"), *v,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *ofPod))
			}
		}
		if v != nil && *v {
			host++
		}
	})
	if host == 0 {
		return
	}
	if host != all {
		c.Invalid(p, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !c.spec.HostNetwork {
		c.Invalid(p.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

// checkOS refuses the fields of one operating system in a pod for the other.
func (c *podCheck) checkOS(p *field.Path) {
	if c.spec.OS == nil {
		return
	}
	sc, at := c.spec.SecurityContext, p.Child("securityContext")
	switch c.spec.OS.Name {
	case "":
		c.Required(p.Child("os", "name"), "")
	case corev1.Linux:
		const no = "windows options cannot be set for a linux pod"
		c.ForbiddenIf(sc != nil && sc.WindowsOptions != nil, at.Child("windowsOptions"), no)
		eachContainer(c.spec, p, func(ctr *corev1.Container, p *field.Path) {
			c.ForbiddenIf(ctr.SecurityContext != nil && ctr.SecurityContext.WindowsOptions != nil, p.Child("securityContext", "windowsOptions"), no)
		})
	case corev1.Windows:
		c.checkWindowsPod(p)
	default:
		meta.Among(&c.Report, p.Child("os"), c.spec.OS.Name, corev1.Linux, corev1.Windows)
	}
}

func (c *podCheck) checkWindowsPod(p *field.Path) {
	no := func(set bool, at *field.Path, name string) {
		c.ForbiddenIf(set, at.Child(name), "cannot be set for a windows pod")
	}
	s, at := c.spec, p.Child("securityContext")
	no(s.HostUsers != nil, p, "hostUsers")
	no(s.HostPID, p, "hostPID")
	no(s.HostIPC, p, "hostIPC")
	no(s.ShareProcessNamespace != nil, p, "shareProcessNamespace")
	if sc := s.SecurityContext; sc != nil {
		no(sc.AppArmorProfile != nil, at, "appArmorProfile")
		no(sc.SELinuxOptions != nil, at, "seLinuxOptions")
		no(sc.SeccompProfile != nil, at, "seccompProfile")
		no(sc.FSGroup != nil, at, "fsGroup")
		no(sc.FSGroupChangePolicy != nil, at, "fsGroupChangePolicy")
		no(len(sc.Sysctls) > 0, at, "sysctls")
		no(sc.RunAsUser != nil, at, "runAsUser")
		no(sc.RunAsGroup != nil, at, "runAsGroup")
		no(sc.SupplementalGroups != nil, at, "supplementalGroups")
		no(sc.SupplementalGroupsPolicy != nil, at, "supplementalGroupsPolicy")
		no(sc.SELinuxChangePolicy != nil, at, "seLinuxChangePolicy")
	}
	eachContainer(s, p, func(ctr *corev1.Container, p *field.Path) {
		sc, at := ctr.SecurityContext, p.Child("securityContext")
		if sc == nil {
			return
		}
		no(sc.AppArmorProfile != nil, at, "appArmorProfile")
		no(sc.SELinuxOptions != nil, at, "seLinuxOptions")
		no(sc.SeccompProfile != nil, at, "seccompProfile")
		no(sc.Capabilities != nil, at, "capabilities")
		no(sc.ReadOnlyRootFilesystem != nil, at, "readOnlyRootFilesystem")
		no(sc.Privileged != nil, at, "privileged")
		no(sc.AllowPrivilegeEscalation != nil, at, "allowPrivilegeEscalation")
		no(sc.ProcMount != nil, at, "procMount")
		no(sc.RunAsUser != nil, at, "runAsUser")
		no(sc.RunAsGroup != nil, at, "runAsGroup")
	})
}
