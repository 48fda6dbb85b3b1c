package openapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
)

// paths writes operations as the paths of a document. Parameters that all
// operations of a path share are the path's.
func (d *definitions) paths(ops []operation, shared *parameters) object {
	byPath := map[string][]operation{}
	for _, op := range ops {
		op.params = slices.Clone(op.params) // kinds share them
		slices.SortFunc(op.params, func(a, b param) int { return cmp.Compare(a.name+" "+a.in, b.name+" "+b.in) })
		byPath[op.path] = append(byPath[op.path], op)
	}
	out := object{}
	for path, ops := range byPath {
		common := slices.Clone(ops[0].params)
		for _, op := range ops[1:] {
			common = slices.DeleteFunc(common, func(p param) bool { return !slices.Contains(op.params, p) })
		}
		item := object{}
		if len(common) > 0 {
			item["parameters"] = d.parameters(common, shared)
		}
		for _, op := range ops {
			op.params = slices.DeleteFunc(slices.Clone(op.params), func(p param) bool { return slices.Contains(common, p) })
			item[op.method] = d.operation(op, shared)
		}
		out[path] = item
	}
	return out
}

func (d *definitions) operation(op operation, shared *parameters) object {
	out := object{"description": op.words, "operationId": op.id, "tags": []any{op.tag}}
	if op.action != "" {
		out["x-kubernetes-action"] = op.action
	}
	if op.gvk != nil {
		out["x-kubernetes-group-version-kind"] = gvkObject(*op.gvk)
	}
	answer := object{"type": "string"}
	if op.answer != nil {
		answer = d.ref(op.answer)
	}
	responses := object{"401": object{"description": statusWords[401]}}
	params := d.parameters(op.params, shared)
	if d.v3 {
		for _, code := range op.codes {
			responses[strconv.Itoa(code)] = object{"description": statusWords[code], "content": content(op.produces, answer)}
		}
		if op.body != nil {
			body := object{"content": content(op.consumes, d.ref(op.body))}
			if op.bodyRequired {
				body["required"] = true
			}
			out["requestBody"] = body
		}
	} else {
		for _, code := range op.codes {
			responses[strconv.Itoa(code)] = object{"description": statusWords[code], "schema": answer}
		}
		if op.body != nil {
			body := object{"in": "body", "name": "body", "schema": d.ref(op.body)}
			if op.bodyRequired {
				body["required"] = true
			}
			params = append([]any{body}, params...)
		}
		out["produces"], out["schemes"] = op.produces, []any{"https"}
		if len(op.consumes) > 0 {
			out["consumes"] = op.consumes
		}
	}
	out["responses"] = responses
	if len(params) > 0 {
		out["parameters"] = params
	}
	return out
}

func content(types []string, schema object) object {
	out := object{}
	for _, t := range types {
		out[t] = object{"schema": schema}
	}
	return out
}

func (d *definitions) parameters(params []param, shared *parameters) []any {
	var out []any
	for _, p := range params {
		o := object{"name": p.name, "in": p.in}
		if p.words != "" {
			o["description"] = p.words
		}
		if p.required {
			o["required"] = true
		}
		if d.v3 {
			o["schema"] = object{"type": p.kind, "uniqueItems": true}
			out = append(out, o)
			continue
		}
		o["type"], o["uniqueItems"] = p.kind, true
		// kubectl looks for these two in the operation itself.
		if p.name == "dryRun" || p.name == "fieldValidation" || p.name == "name" {
			out = append(out, o)
			continue
		}
		out = append(out, shared.ref(p.name, o))
	}
	return out
}

// parameters are those that a v2 document writes once.
type parameters struct{ byKey object }

func (p *parameters) ref(name string, o object) object {
	text, _ := json.Marshal(o) // an object of strings and booleans
	sum := sha256.Sum256(text)
	key := name + "-" + hex.EncodeToString(sum[:4])
	p.byKey[key] = o
	return object{"$ref": "#/parameters/" + key}
}

const bearerWords = "Bearer Token authentication"

// documentV3 is a whole v3 document.
func (d *definitions) documentV3(ops []operation, version string) object {
	paths := d.paths(ops, nil)
	return object{
		"openapi": "3.0.0",
		"info":    object{"title": "Kubernetes", "version": version},
		"paths":   paths,
		"components": object{
			"schemas": object(d.byKey),
			"securitySchemes": object{
				"BearerToken": object{"type": "apiKey", "description": bearerWords, "name": "authorization", "in": "header"},
			},
		},
	}
}

// documentV2 is the whole v2 document.
func (d *definitions) documentV2(ops []operation, version string) object {
	shared := &parameters{byKey: object{}}
	paths := d.paths(ops, shared)
	return object{
		"swagger":     "2.0",
		"info":        object{"title": "Kubernetes", "version": version},
		"paths":       paths,
		"definitions": object(d.byKey),
		"parameters":  shared.byKey,
		"securityDefinitions": object{
			"BearerToken": object{"type": "apiKey", "description": bearerWords, "name": "authorization", "in": "header"},
		},
		"security": []any{object{"BearerToken": []any{}}},
	}
}
