package oracle

import "regexp"

// Accepted is a difference we keep.
type Accepted struct {
	Kind, Phase string // regular expressions, anchored at both ends
	Side        string // whose word it is, likewise: theirs or ours
	Text        string // a regular expression found in it
	Reason      string
	Rare        bool // not worth a word when a run does not meet it
}

// accepted lists them all. Each must still occur, if it is not rare: the long
// run tells which did not.
var accepted = []Accepted{
	{"Pod", "create prepare", "(theirs|ours)", `"qosClass"`, "upstream believes the class that a client writes into the status of a new pod; we compute it, as for every other status", false},
	{".*", ".*", "(theirs|ours)", `annotations: json: cannot unmarshal`, "the text of Go's JSON error names the Go type, which is not ours", false},
	{"apps.StatefulSet", "create|update", "(theirs|ours)", `spec\.template\.spec\.volumes\[\d+\]`, "upstream judges the volumes that stand for claims in no order", true},
	{"ReplicationController", "update warnings", "(theirs|ours)", ".", "upstream warns of the template that was, for the one that is", true},
	{"networking.IPAddress", "table", "theirs", "^2: ", "upstream sends a cell more than there are columns, which nobody shows", false},
	{"admissionregistration..*WebhookConfiguration", "create|update", "(theirs|ours)", `clientConfig\.service\.name(space)?: $`, "upstream says that the namespace is missing where the name is, and the reverse", false},
	{"admissionregistration..*WebhookConfiguration", "conversion of .*v1beta1.*", "(theirs|ours)", `^"sideEffects": `, "a webhook of v1beta1 that does not say it has no side effects is taken to have none: v1 would refuse it", false},
	{"LimitRange", "create prepare", "(theirs|ours)", `"name": "[0-9a-f]{8}-[0-9a-f-]{27}"`, "a LimitRange without a name is given a random one", false},
	{".*", ".*", "(theirs|ours)", `volumes\[\d+\]\.downwa(rd|r)API: may not specify more`, "upstream misspells the path, as downwarAPI", false},
	{".*", "update|ephemeralcontainers|resize", "(theirs|ours)", `seLinuxChangePolicy: supported values`, "upstream lets an object that names a policy take MountOption, though the feature SELinuxMount is off; we do not", true},
}

func (a Accepted) matches(kind, phase, side, text string) bool {
	return full(a.Side, side) && full(a.Kind, kind) && full(a.Phase, phase) && regexp.MustCompile(a.Text).MatchString(text)
}

func full(expr, s string) bool { return regexp.MustCompile("^(?:" + expr + ")$").MatchString(s) }

// accept leaves out of differences what is accepted.
func (j *Judge) accept(list []Difference) (out []Difference) {
	for _, d := range list {
		d.Theirs, d.Ours = j.unaccepted(d.Phase, "theirs", d.Theirs), j.unaccepted(d.Phase, "ours", d.Ours)
		if d.Theirs != nil || d.Ours != nil {
			out = append(out, d)
		}
	}
	return out
}

// unaccepted leaves out what is accepted, and notes that it occurred.
func (j *Judge) unaccepted(phase, side string, texts []string) (out []string) {
	for _, t := range texts {
		found := false
		for _, a := range accepted {
			if a.matches(j.Name, phase, side, t) {
				j.used[a.Reason]++
				found = true
				break
			}
		}
		if !found {
			out = append(out, t)
		}
	}
	return out
}

// acceptedFacts are facts of rows that differ, by kind and fact, with the reason.
var acceptedFacts = map[string]string{}
