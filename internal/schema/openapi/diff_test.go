package openapi

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"testing"

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
