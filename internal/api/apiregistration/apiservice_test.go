package apiregistration

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestLocalServicesAreOfKnownGroups(t *testing.T) {
	got := Local([]schema.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}, {Group: "autoscaling", Version: "v2"}, {Group: "example.com", Version: "v1"}})
	want := []struct {
		name           string
		group, version int32
	}{{"v1.", 18000, 1}, {"v1.apps", 17800, 15}, {"v2.autoscaling", 17500, 30}}
	if len(got) != len(want) {
		t.Fatalf("got %d services, want %d", len(got), len(want))
	}
	k := Rows()[0]
	for i, w := range want {
		s := got[i]
		if s.Name != w.name || s.Spec.GroupPriorityMinimum != w.group || s.Spec.VersionPriority != w.version {
			t.Errorf("got %s %d %d, want %v", s.Name, s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority, w)
		}
		if s.Labels[AutomanagedLabel] != AutomanagedOnStart {
			t.Errorf("%s has labels %v", s.Name, s.Labels)
		}
		if errs := k.Validate(s); len(errs) > 0 {
			t.Errorf("%s is not valid: %v", s.Name, errs)
		}
	}
}

func TestLocalServicesAreAvailableAtOnce(t *testing.T) {
	k, at := Rows()[0], metav1.NewTime(time.Unix(1700000000, 0))
	s := Local([]schema.GroupVersion{{Group: "apps", Version: "v1"}})[0]
	s.CreationTimestamp = at
	k.PrepareCreate(s)
	if c := s.Status.Conditions; len(c) != 1 || c[0].Reason != "Local" || !c[0].LastTransitionTime.Equal(&at) {
		t.Errorf("got %+v", c)
	}
	if row := k.Row(s, at.Add(time.Minute)); row[1] != "Local" || row[2] != "True" || row[3] != "60s" {
		t.Errorf("got %v", row)
	}
	s.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "n", Name: "s"}
	s.Status.Conditions[0].Status, s.Status.Conditions[0].Reason = "False", "Missing"
	if row := k.Row(s, at.Time); row[1] != "n/s" || row[2] != "False (Missing)" {
		t.Errorf("got %v", row)
	}
}

func TestServicesAreJudged(t *testing.T) {
	good := func() *apiregistrationv1.APIService {
		port := int32(443)
		return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.a.b"}, Spec: apiregistrationv1.APIServiceSpec{
			Group: "a.b", Version: "v1", GroupPriorityMinimum: 1, VersionPriority: 1,
			Service: &apiregistrationv1.ServiceReference{Namespace: "n", Name: "s", Port: &port},
		}}
	}
	for _, c := range []struct {
		change func(*apiregistrationv1.APIService)
		want   string
	}{
		{func(*apiregistrationv1.APIService) {}, ""},
		{func(s *apiregistrationv1.APIService) { s.Name = "v2.a.b" }, "metadata.name: Invalid value: \"v2.a.b\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\""},
		{func(s *apiregistrationv1.APIService) { s.Name, s.Spec.Group, s.Spec.Version = "v2.", "", "v2" }, "spec.group: Required value: only v1 may have an empty group"},
		{func(s *apiregistrationv1.APIService) { s.Spec.GroupPriorityMinimum = 20001 }, "spec.groupPriorityMinimum: Invalid value: 20001"},
		{func(s *apiregistrationv1.APIService) { s.Spec.VersionPriority = 0 }, "spec.versionPriority: Invalid value: 0"},
		{func(s *apiregistrationv1.APIService) {
			s.Spec.InsecureSkipTLSVerify, s.Spec.CABundle = true, []byte("x")
		}, "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"},
		{func(s *apiregistrationv1.APIService) { s.Spec.Service, s.Spec.CABundle = nil, []byte("x") }, "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle"},
		{func(s *apiregistrationv1.APIService) { s.Spec.Service.Name = "" }, "spec.service.name: Required value"},
	} {
		s := good()
		c.change(s)
		err := Rows()[0].Validate(s).ToAggregate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestServicesAreStored(t *testing.T) {
	k := Rows()[0]
	s := Custom(schema.GroupVersion{Group: "a.b", Version: "v1"})
	value, err := k.EncodeStored(s)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := k.DecodeStored(value, 1)
	if err != nil || back.(*apiregistrationv1.APIService).Spec.GroupPriorityMinimum != CustomGroupPriority {
		t.Errorf("came back as %v, %v", back, err)
	}
}
