package spec

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// User is who a container's process is.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, the primary one included
	Home     string
}

type passwdEntry struct {
	name     string
	uid, gid uint32
	home     string
}

type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// ResolveUser decides the user from the security context and the image's USER, with
// the contents of the root filesystem's /etc/passwd and /etc/group (empty if there
// are none).
func ResolveUser(sc *runtimeapi.LinuxContainerSecurityContext, imageUser, passwd, group string) (User, error) {
	users, groups := parsePasswd(passwd), parseGroup(group)
	want, wantGroup := imageUser, ""
	if sc.GetRunAsUsername() != "" {
		want = sc.GetRunAsUsername()
	}
	if sc.GetRunAsUser() != nil {
		want = strconv.FormatInt(sc.GetRunAsUser().GetValue(), 10)
	}
	want, wantGroup, _ = strings.Cut(want, ":")
	if sc.GetRunAsGroup() != nil {
		if sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "" && imageUser == "" {
			want = "0"
		}
		wantGroup = strconv.FormatInt(sc.GetRunAsGroup().GetValue(), 10)
	}
	u := User{Home: "/"}
	name := ""
	if want == "" {
		want = "0"
	}
	if id, err := strconv.ParseUint(want, 10, 32); err == nil {
		u.UID = uint32(id)
		for _, e := range users {
			if e.uid == u.UID {
				name, u.GID, u.Home = e.name, e.gid, e.home
				break
			}
		}
	} else {
		i := slices.IndexFunc(users, func(e passwdEntry) bool { return e.name == want })
		if i < 0 {
			return User{}, fmt.Errorf("no users found: unable to find user %s: no matching entries in passwd file", want)
		}
		name, u.UID, u.GID, u.Home = users[i].name, users[i].uid, users[i].gid, users[i].home
	}
	if wantGroup != "" {
		if id, err := strconv.ParseUint(wantGroup, 10, 32); err == nil {
			u.GID = uint32(id)
		} else {
			i := slices.IndexFunc(groups, func(e groupEntry) bool { return e.name == wantGroup })
			if i < 0 {
				return User{}, fmt.Errorf("no groups found: unable to find group %s: no matching entries in group file", wantGroup)
			}
			u.GID = groups[i].gid
		}
	}
	add := func(gid uint32) {
		if !slices.Contains(u.Groups, gid) {
			u.Groups = append(u.Groups, gid)
		}
	}
	add(u.GID)
	if sc.GetSupplementalGroupsPolicy() == runtimeapi.SupplementalGroupsPolicy_Merge && name != "" {
		for _, e := range groups {
			if slices.Contains(e.members, name) {
				add(e.gid)
			}
		}
	}
	for _, gid := range sc.GetSupplementalGroups() {
		add(uint32(gid))
	}
	return u, nil
}

func parsePasswd(text string) []passwdEntry {
	var out []passwdEntry
	eachEntry(text, 6, func(f []string) {
		uid, errU := strconv.ParseUint(f[2], 10, 32)
		gid, errG := strconv.ParseUint(f[3], 10, 32)
		if errU == nil && errG == nil {
			out = append(out, passwdEntry{name: f[0], uid: uint32(uid), gid: uint32(gid), home: f[5]})
		}
	})
	return out
}

func parseGroup(text string) []groupEntry {
	var out []groupEntry
	eachEntry(text, 3, func(f []string) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return
		}
		e := groupEntry{name: f[0], gid: uint32(gid)}
		if len(f) > 3 && f[3] != "" {
			e.members = strings.Split(f[3], ",")
		}
		out = append(out, e)
	})
	return out
}

func eachEntry(text string, atLeast int, use func([]string)) {
	s := bufio.NewScanner(strings.NewReader(text))
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if f := strings.Split(line, ":"); len(f) >= atLeast {
			use(f)
		}
	}
}
