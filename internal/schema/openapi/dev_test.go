package openapi

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
)

func TestDevMarks(t *testing.T) {
	dir := os.Getenv("ORACLE")
	if dir == "" {
		t.Skip()
	}
	fieldType := map[string]reflect.Type{}
	d := newDefinitions(v3, nil)
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version != "v1" && gvk.Version != "v2" || gvk.Group == "internal.apiserver.k8s.io" {
			continue
		}
		d.ref(typ)
	}
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
	rows := map[string][]string{}
	var odd []string
	stat := map[string]int{}
	add := func(k, s string) {
		k = strings.TrimPrefix(k, "io.k8s.")
		rows[k] = append(rows[k], s)
	}
	strs := func(v any) []string {
		var o []string
		l, _ := v.([]any)
		for _, x := range l {
			o = append(o, x.(string))
		}
		return o
	}
	for key, ov := range ours {
		uv, ok := up[key]
		if !ok {
			odd = append(odd, "EXTRA "+key)
			continue
		}
		o, u := ov.(map[string]any), uv.(map[string]any)
		if m := u["x-kubernetes-map-type"]; m != nil {
			add(key, "map="+m.(string))
		}
		if m := u["x-kubernetes-unions"]; m != nil {
			j, _ := json.Marshal(m)
			add(key, "unions="+string(j))
		}
		op, _ := o["properties"].(map[string]any)
		upr, _ := u["properties"].(map[string]any)
		or, ur := strs(o["required"]), strs(u["required"])
		for f := range upr {
			a, b := slices.Contains(or, f), slices.Contains(ur, f)
			if a && !b {
				add(key+"."+f, "optional")
			}
			if b && !a {
				add(key+"."+f, "required")
			}
			ofv, ok := op[f].(map[string]any)
			if !ok {
				odd = append(odd, "NOFIELD "+key+"."+f)
				continue
			}
			ufv := upr[f].(map[string]any)
			od, hasO := ofv["default"]
			ud, hasU := ufv["default"]
			if hasU && (!hasO || !reflect.DeepEqual(od, ud)) {
				j, _ := json.Marshal(ud)
				add(key+"."+f, "default="+string(j))
			}
			if hasO && !hasU {
				if a && !b && !hasU {
					stat["optional nodefault"]++
				} else {
					add(key+"."+f, "nodefault")
				}
			}
			if m := ufv["x-kubernetes-map-type"]; m != nil {
				add(key+"."+f, "map="+m.(string))
			}
			if ufv["type"] == "array" {
				lt, _ := ufv["x-kubernetes-list-type"].(string)
				keys := strings.Join(strs(ufv["x-kubernetes-list-map-keys"]), ",")
				pk, _ := ufv["x-kubernetes-patch-merge-key"].(string)
				switch {
				case lt == "map" && pk == keys:
					stat["map by key"]++
				case lt == "atomic" && pk == "":
					stat["atomic"]++
				case lt == "":
					if strings.HasSuffix(key, "List") && f == "items" {
						stat["items"]++
					} else {
						add(key+"."+f, "list=- pk="+pk)
					}
				case lt == "map":
					add(key+"."+f, "keys="+keys)
				default:
					add(key+"."+f, "list="+lt)
				}
			} else if ufv["x-kubernetes-list-type"] != nil {
				odd = append(odd, "list-type on non array "+key+"."+f)
			}
			delete(ofv, "default")
			delete(ufv, "default")
			for _, m := range []map[string]any{ofv, ufv} {
				for _, x := range []string{"map-type", "list-type", "list-map-keys"} {
					delete(m, "x-kubernetes-"+x)
				}
				delete(m, "enum")
			}
			var lines []string
			diff(key+"."+f, ofv, ufv, &lines)
			odd = append(odd, lines...)
		}
		for f := range op {
			if upr[f] == nil {
				odd = append(odd, "SURPLUSFIELD "+key+"."+f)
			}
		}
	}
	var keys []string
	for k := range rows {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var out strings.Builder
	for _, k := range keys {
		out.WriteString(k + " " + strings.Join(rows[k], " ") + "\n")
	}
	os.WriteFile("/tmp/marks.txt", []byte(out.String()), 0o644)
	sort.Strings(odd)
	os.WriteFile("/tmp/odd.txt", []byte(strings.Join(odd, "\n")), 0o644)
	fmt.Println(stat)

	// enums
	gen, err := os.ReadFile(os.Getenv("GEN"))
	if err != nil {
		t.Fatal(err)
	}
	_ = fieldType
	want := map[string][]string{} // modelkey.prop -> values
	fn := regexp.MustCompile(`(?s)\nfunc schema_(\w+)\(ref .*?\n}\n`)
	prop := regexp.MustCompile(`(?s)\n\t\t\t\t\t"(\w+)": \{(.*?)\n\t\t\t\t\t\},`)
	en := regexp.MustCompile(`Enum:\s+\[\]interface\{\}\{(.*?)\},\n`)
	for _, m := range fn.FindAllStringSubmatch(string(gen), -1) {
		for _, p := range prop.FindAllStringSubmatch(m[0], -1) {
			if e := en.FindStringSubmatch(p[2]); e != nil {
				var vals []string
				for _, v := range strings.Split(e[1], ", ") {
					vals = append(vals, strings.Trim(v, "`\""))
				}
				want[m[1]+"."+p[1]] = vals
			}
		}
	}
	fmt.Println("enum props", len(want))
	byType := map[string]string{}
	conflicts := map[string]bool{}
	seen := map[reflect.Type]bool{}
	used := 0
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		path := t.PkgPath()
		path = strings.TrimPrefix(path, "k8s.io/")
		parts := strings.Split(path, "/")
		fnName := strings.Join(parts, "_") + "_" + t.Name()
		alt := fnName
		if parts[0] == "api" {
			fnName = "k8sio_" + fnName
			alt = strings.Join(parts, "_") + "_" + t.Name()
		}
		for i := range t.NumField() {
			f := t.Field(i)
			n, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			walk(f.Type)
			for _, c := range []string{alt, fnName, strings.TrimPrefix(alt, "apimachinery_")} {
				vals, ok := want[c+"."+n]
				ft := f.Type
				for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
					ft = ft.Elem()
				}
				if ok {
					used++
					k := strings.TrimPrefix(ft.PkgPath(), "k8s.io/") + "." + ft.Name()
					s := strings.Join(vals, ",")
					if old, ok := byType[k]; ok && old != s {
						conflicts[k+": "+old+" / "+s+" at "+c+"."+n] = true
					}
					byType[k] = s
				}
			}
		}
	}
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version != "v1" && gvk.Version != "v2" {
			continue
		}
		walk(typ)
	}
	fmt.Println("used", used, "conflicts", conflicts)
	var el []string
	for k, v := range byType {
		el = append(el, fmt.Sprintf("%s %s", k, v))
	}
	sort.Strings(el)
	os.WriteFile("/tmp/enums.txt", []byte(strings.Join(el, "\n")+"\n"), 0o644)
}
