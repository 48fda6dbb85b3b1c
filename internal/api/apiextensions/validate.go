package apiextensions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// internal gives a definition in the form the library judges. Its paths are
// those of that form: a schema that all versions share is spec.validation's.
// It shares nothing with d.
func internal(d *apiextensionsv1.CustomResourceDefinition) (*apiextensions.CustomResourceDefinition, field.ErrorList) {
	var out apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), &out, nil); err != nil {
		return nil, field.ErrorList{field.InternalError(field.NewPath("spec"), fmt.Errorf("converting the definition: %w", err))}
	}
	return &out, nil
}

// normalize gives a definition the form upstream stores: JSON values written
// anew, a conversion without content dropped.
func normalize(d *apiextensionsv1.CustomResourceDefinition) {
	in, errs := internal(d)
	if errs != nil {
		return // validation will say so
	}
	var out apiextensionsv1.CustomResourceDefinition
	if apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(in, &out, nil) == nil {
		d.Spec, d.Status = out.Spec, out.Status
	}
}

func validate(d *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	return validation.ValidateCustomResourceDefinition(context.Background(), in)
}

func validateUpdate(d, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	return judge(d, old, func(d, old *apiextensions.CustomResourceDefinition) field.ErrorList {
		return validation.ValidateCustomResourceDefinitionUpdate(context.Background(), d, old)
	})
}

func validateStatus(d, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	return judge(d, old, validation.ValidateUpdateCustomResourceDefinitionStatus)
}

func judge(d, old *apiextensionsv1.CustomResourceDefinition, f func(d, old *apiextensions.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	was, errs := internal(old)
	if errs != nil {
		return errs
	}
	return f(in, was)
}

// warnings tell of formats that no value is checked against.
func warnings(d *apiextensionsv1.CustomResourceDefinition) []string {
	var out []string
	visit := func(s *apiextensions.JSONSchemaProps) bool {
		if s.Format != "" && !knownFormat(s.Type, s.Format) {
			out = append(out, fmt.Sprintf("unrecognized format %q", s.Format))
		}
		return false
	}
	in, errs := internal(d)
	if errs != nil {
		return nil
	}
	if v := in.Spec.Validation; v != nil {
		validation.SchemaHas(v.OpenAPIV3Schema, visit)
	}
	for _, v := range in.Spec.Versions {
		if v.Schema != nil {
			validation.SchemaHas(v.Schema.OpenAPIV3Schema, visit)
		}
	}
	slices.Sort(out) // properties come in no order
	return out
}

// knownFormat tells whether values of a type are checked against a format.
func knownFormat(typ, format string) bool {
	switch typ {
	case "", "string":
		switch strings.ReplaceAll(format, "-", "") {
		case "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5", "isbn", "isbn10", "isbn13",
			"creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password", "date", "duration", "datetime", "k8sshortname", "k8slongname":
			return true
		}
	case "integer":
		return format == "int32" || format == "int64"
	case "number":
		return format == "float" || format == "double"
	}
	return false
}
