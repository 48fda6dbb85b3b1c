package api

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestImmenseQuantitiesAreNotRead(t *testing.T) {
	limits := func(s string) string {
		return `{"spec":{"containers":[{"name":"c","resources":{"limits":` + s + `}}]}}`
	}
	for doc, refused := range map[string]bool{
		limits(`{"cpu":"1e-99999999"}`):                                        true,
		limits(`{"cpu":1e-99999999}`):                                          true,
		limits(`{"cpu":"1E+99999999"}`):                                        true,
		limits(`{"cpu":"1e-99999999","cpu":"1"}`):                              true,
		limits(`{"cpu":"1e-\u0039\u0039\u0039\u0039\u0039\u0039"}`):            true,
		limits(`{"cpu":"1\u0065-99999999"}`):                                   true,
		limits(`{"a":{},"cpu":"1e1000"}`):                                      true,
		limits(`{"cpu":"` + strings.Repeat("9", 2000) + `"}`):                  true,
		limits(`{"cpu":"1e999"}`):                                              false,
		limits(`{"cpu":"1e00000003"}`):                                         false,
		limits(`{"cpu":"1"}`):                                                  false,
		`{"metadata":{"labels":{"commit":"1e99999999"},"name":"5e-99999999"}}`: false,
		`{"unknown":{"cpu":1e-99999999}}`:                                      false,
		strings.Repeat(`{"spec":`, 20000) + `"1e99999"`:                        false, // the reader's to refuse
	} {
		if err := CheckQuantities([]byte(doc), new(corev1.Pod)); (err != nil) != refused {
			t.Errorf("%.200s: %v", doc, err)
		}
	}
	_, err := DecodeJSONStrict([]byte(limits(`{"cpu":"1e-99999999"}`)), new(corev1.Pod))
	if !errors.Is(err, resource.ErrNumeric) || !strings.HasPrefix(err.Error(), "spec.containers[].resources.limits.cpu: ") {
		t.Error(err)
	}
	if err := DecodeJSON([]byte(limits(`{"cpu":1e-99999999}`)), new(corev1.Pod)); err == nil {
		t.Error("an immense quantity was read")
	}
}
