package openapi

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/monohull/monohull/internal/api/all"
)

func TestDevDiff(t *testing.T) {
	dir := os.Getenv("ORACLE")
	if dir == "" {
		t.Skip()
	}
	d := newDefinitions(v3, nil)
	types := map[string]reflect.Type{}
	for _, k := range all.Table().Kinds() {
		d.ref(k.GoType)
		d.ref(reflect.TypeOf(k.NewList()))
	}
	_ = types
	up := map[string]any{}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		raw, _ := os.ReadFile(dir + "/" + f.Name())
		var doc struct {
			Components struct{ Schemas map[string]any }
		}
		json.Unmarshal(raw, &doc)
		for k, v := range doc.Components.Schemas {
			up[k] = v
		}
	}
	raw, _ := json.Marshal(d.byKey)
	ours := map[string]any{}
	json.Unmarshal(raw, &ours)
	var lines []string
	for k, v := range ours {
		u, ok := up[k]
		if !ok {
			lines = append(lines, "EXTRA "+k)
			continue
		}
		diff(k, v, u, &lines)
	}
	sort.Strings(lines)
	for _, l := range lines {
		fmt.Println(l)
	}
}

func diff(path string, a, b any, out *[]string) {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		keys := map[string]bool{}
		for k := range am {
			keys[k] = true
		}
		for k := range bm {
			keys[k] = true
		}
		for k := range keys {
			if k == "x-kubernetes-group-version-kind" {
				continue
			}
			if _, ok := am[k]; !ok {
				raw, _ := json.Marshal(bm[k])
				*out = append(*out, fmt.Sprintf("MISSING %s/%s = %.300s", path, k, raw))
				continue
			}
			if _, ok := bm[k]; !ok {
				raw, _ := json.Marshal(am[k])
				*out = append(*out, fmt.Sprintf("SURPLUS %s/%s = %.300s", path, k, raw))
				continue
			}
			diff(path+"/"+k, am[k], bm[k], out)
		}
		return
	}
	if !reflect.DeepEqual(a, b) {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		*out = append(*out, fmt.Sprintf("DIFF %s\n   ours %.400s\n   up   %.400s", path, x, y))
	}
}

func dropCBOR(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if strings.Contains(k, "cbor") {
				delete(v, k)
			}
		}
		for k, x := range v {
			if l, ok := x.([]any); ok {
				var out []any
				for _, e := range l {
					if s, ok := e.(string); !ok || !strings.Contains(s, "cbor") {
						out = append(out, e)
					}
				}
				v[k] = out
			}
			dropCBOR(v[k])
		}
	case []any:
		for _, x := range v {
			dropCBOR(x)
		}
	}
}

func TestDevPaths(t *testing.T) {
	dir := os.Getenv("ORACLE")
	if dir == "" {
		t.Skip()
	}
	d := testDocuments()
	var lines []string
	for _, path := range d.Paths() {
		start := time.Now()
		body, _, _, err := d.V3(path)
		if err != nil {
			t.Fatal(err)
		}
		el := time.Since(start)
		start = time.Now()
		pb, _, _, err := d.V3Proto(path)
		fmt.Println("SIZE", path, len(body), el, len(pb), time.Since(start), len(d.built[path].packed), err)
		raw, err := os.ReadFile(dir + "/" + strings.ReplaceAll(path, "/", "__") + "_openapi.json")
		if err != nil {
			fmt.Println(err)
			continue
		}
		var a, b map[string]any
		json.Unmarshal(body, &a)
		json.Unmarshal(raw, &b)
		dropCBOR(b)
		lines = append(lines, path+" SCHEMAS")
		as, bs := a["components"].(map[string]any)["schemas"].(map[string]any), b["components"].(map[string]any)["schemas"].(map[string]any)
		for k := range as {
			if bs[k] == nil {
				lines = append(lines, "EXTRA SCHEMA "+path+" "+k)
				continue
			}
			if !reflect.DeepEqual(as[k].(map[string]any)["x-kubernetes-group-version-kind"], bs[k].(map[string]any)["x-kubernetes-group-version-kind"]) {
				lines = append(lines, fmt.Sprint("GVK ", k, as[k].(map[string]any)["x-kubernetes-group-version-kind"], bs[k].(map[string]any)["x-kubernetes-group-version-kind"]))
			}
		}
		diff(path, a["paths"], b["paths"], &lines)
	}
	start := time.Now()
	body, _, err := d.V2()
	el := time.Since(start)
	start = time.Now()
	pb, _, err2 := d.V2Proto()
	fmt.Println("SIZE v2", len(body), el, len(pb), time.Since(start), err, err2, len(d.built[""].packed))
	raw, _ := os.ReadFile(dir + "/../swagger.json")
	var a, b map[string]any
	json.Unmarshal(body, &a)
	json.Unmarshal(raw, &b)
	dropCBOR(b)
	for _, m := range []map[string]any{a, b} {
		for _, p := range m["paths"].(map[string]any) {
			for _, op := range p.(map[string]any) {
				if o, ok := op.(map[string]any); ok {
					delete(o, "parameters")
				}
			}
			delete(p.(map[string]any), "parameters")
		}
		delete(m, "parameters")
	}
	diff("v2", a, b, &lines)
	sort.Strings(lines)
	for _, l := range lines {
		fmt.Println(l)
	}
}
