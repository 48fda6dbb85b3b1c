package identity

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/auth"
)

// legacyStep is what becomes of a token in a Secret that was not used for long.
type legacyStep int

const (
	legacyKeep legacyStep = iota
	legacyMark            // it does not count any more, but an administrator may still bring it back
	legacyDelete
)

// trackedFrom is the first whole day that uses of tokens were noted on.
func trackedFrom(since string) (time.Time, bool) {
	day, err := time.Parse(auth.TrackingDate, since)
	return day.AddDate(0, 0, 1), err == nil
}

// legacyNext decides about a token of an account that has listed it since such tokens were made by themselves: only those
// are cleaned up. mounted says whether a pod names the Secret.
func legacyNext(s *corev1.Secret, account *corev1.ServiceAccount, mounted func() bool, now, tracked time.Time, unused time.Duration) legacyStep {
	now = now.UTC()
	before := now.Add(-unused)
	day := before.Format(auth.TrackingDate)
	switch {
	case s.Type != corev1.SecretTypeServiceAccountToken, s.DeletionTimestamp != nil:
		return legacyKeep
	case now.Before(tracked.Add(unused)), !s.CreationTimestamp.Time.Before(before):
		return legacyKeep // not known for long enough
	}
	if used, ok := s.Labels[auth.LastUsedLabel]; ok {
		if _, err := time.Parse(auth.TrackingDate, used); err != nil || used >= day {
			return legacyKeep
		}
	}
	if account == nil || !listsSecret(account, s.Name) || mounted() {
		return legacyKeep
	}
	since := s.Labels[auth.InvalidSinceLabel]
	if _, err := time.Parse(auth.TrackingDate, since); err != nil {
		return legacyMark
	}
	if since >= day {
		return legacyKeep
	}
	return legacyDelete
}

func listsSecret(account *corev1.ServiceAccount, name string) bool {
	for _, ref := range account.Secrets {
		if ref.Name == name {
			return true
		}
	}
	return false
}
