package audit

import (
	"fmt"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Policy says what is written down of which request.
type Policy struct{ rules audit.PolicyRuleEvaluator }

// ParsePolicy reads a policy, in YAML or JSON.
func ParsePolicy(doc []byte) (*Policy, error) {
	p, err := policy.LoadPolicyFromBytes(doc)
	if err != nil {
		return nil, fmt.Errorf("audit: reading the policy: %w", err)
	}
	return &Policy{policy.NewPolicyRuleEvaluator(p)}, nil
}

// Level is how much is written down.
type Level int

// The levels, each more than the one before.
const (
	None     Level = iota
	Metadata       // who and what
	Request        // and what was sent
	RequestResponse
)

var levelNames = [...]auditinternal.Level{auditinternal.LevelNone, auditinternal.LevelMetadata, auditinternal.LevelRequest, auditinternal.LevelRequestResponse}

func levelOf(l auditinternal.Level) Level {
	for i, name := range levelNames {
		if name == l {
			return Level(i)
		}
	}
	return None
}

// verdict is what the policy says of one request.
type verdict struct {
	level       Level
	omitStages  []auditinternal.Stage
	omitManaged bool
}

func (p *Policy) judge(a authorizer.Attributes) verdict {
	c := p.rules.EvaluatePolicyRule(a)
	return verdict{levelOf(c.Level), c.OmitStages, c.OmitManagedFields}
}
