package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/gnostic-models/compiler"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// protoV3 writes a v3 document as protobuf.
func protoV3(doc object) ([]byte, error) {
	node, err := yamlNode(doc)
	if err != nil {
		return nil, err
	}
	message, err := openapi_v3.NewDocument(node, compiler.NewContextWithExtensions("$root", node, nil, nil))
	if err != nil {
		return nil, fmt.Errorf("converting an OpenAPI v3 document: %w", err)
	}
	return proto.Marshal(message)
}

// protoV2 writes the v2 document as protobuf.
func protoV2(doc object) ([]byte, error) {
	node, err := yamlNode(doc)
	if err != nil {
		return nil, err
	}
	message, err := openapi_v2.NewDocument(node, compiler.NewContextWithExtensions("$root", node, nil, nil))
	if err != nil {
		return nil, fmt.Errorf("converting the OpenAPI v2 document: %w", err)
	}
	return proto.Marshal(message)
}

// yamlNode gives the tree that the converter reads, without writing YAML and
// parsing it again.
func yamlNode(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case nil:
		return scalarNode("!!null", "null"), nil
	case string:
		return scalarNode("!!str", v), nil
	case bool:
		return scalarNode("!!bool", strconv.FormatBool(v)), nil
	case int:
		return scalarNode("!!int", strconv.Itoa(v)), nil
	case float64:
		if v == float64(int64(v)) {
			return scalarNode("!!int", strconv.FormatInt(int64(v), 10)), nil
		}
		return scalarNode("!!float", strconv.FormatFloat(v, 'g', -1, 64)), nil
	case object:
		node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			value, err := yamlNode(v[key])
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, scalarNode("!!str", key), value)
		}
		return node, nil
	case []any:
		return listNode(v)
	case []string:
		return listNode(v)
	}
	return nil, fmt.Errorf("a document holds a %T", v)
}

func listNode[T any](list []T) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, item := range list {
		value, err := yamlNode(item)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, value)
	}
	return node, nil
}

func scalarNode(tag, value string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	if tag == "!!str" {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

func encode(doc object) ([]byte, error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encoding an OpenAPI document: %w", err)
	}
	return body, nil
}
