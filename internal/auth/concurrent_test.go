package auth

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// moving is a policy whose generation changes under its readers.
type moving struct {
	*policy
	at atomic.Uint64
}

func (m *moving) Generation() uint64 { return m.at.Load() }

func TestManyAtOnce(t *testing.T) {
	p := bootstrapped()
	for i := range 20 {
		p.add(bindIn(fmt.Sprintf("n-%d", i), "e", "ClusterRole", "edit", accountSubject("n", "app")))
	}
	source := &moving{policy: p}
	all := Union{Masters, NewRBAC(source)}
	w, key := newWorld(), ecKey(t)
	token := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{}).Response.Status.Token
	a := newAuthenticator(t, w, key, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				resp, err := a.Authenticate(bearer(token))
				if err != nil {
					t.Error(err)
					return
				}
				if g == 0 && i%10 == 0 {
					source.at.Add(1)
				}
				if err := Check(t.Context(), all, ask(resp.User, fmt.Sprintf("create pods n-%d", i%20))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
