// Command stubprovider is a Terraform provider that knows a schema and nothing
// else. It lets `terraform validate` and `terraform test` with mock_provider
// check the modules against the real providers' arguments and types on a machine
// that cannot download the providers themselves.
//
// It serves the schema file named by STUB_SCHEMAS/NAME.json, where NAME is what
// stands between terraform-provider- and the next underscore in its own file name
// (terraform-provider-aws_v6.25.0 serves aws.json). The file has the form of
// `terraform providers schema -json`; schemas/extract.js writes it.
//
// What it leaves out: every check of values that the real provider makes. It
// refuses to be configured, so nothing can be planned or applied with it unless a
// test mocks it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

type schemaFile struct {
	Provider    string                `json:"provider"`
	Version     string                `json:"version"`
	Config      schemaJSON            `json:"provider_schema"`
	Resources   map[string]schemaJSON `json:"resource_schemas"`
	DataSources map[string]schemaJSON `json:"data_source_schemas"`
}

type schemaJSON struct {
	Version int64     `json:"version"`
	Block   blockJSON `json:"block"`
}

type blockJSON struct {
	Attributes map[string]attributeJSON `json:"attributes"`
	BlockTypes map[string]nestedJSON    `json:"block_types"`
}

type attributeJSON struct {
	Type      json.RawMessage `json:"type"`
	Required  bool            `json:"required"`
	Optional  bool            `json:"optional"`
	Computed  bool            `json:"computed"`
	WriteOnly bool            `json:"write_only"`
}

type nestedJSON struct {
	Nesting  string    `json:"nesting_mode"`
	Block    blockJSON `json:"block"`
	MinItems int64     `json:"min_items"`
	MaxItems int64     `json:"max_items"`
}

func main() {
	if err := run(os.Args[0]); err != nil {
		fmt.Fprintln(os.Stderr, "stubprovider:", err)
		os.Exit(1)
	}
}

func run(self string) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(self), "terraform-provider-"), "_")
	raw, err := os.ReadFile(filepath.Join(os.Getenv("STUB_SCHEMAS"), name+".json"))
	if err != nil {
		return fmt.Errorf("read the schema of %s: %w", name, err)
	}
	var file schemaFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return fmt.Errorf("parse the schema of %s: %w", name, err)
	}
	schemas, err := file.schemas()
	if err != nil {
		return err
	}
	address := "registry.terraform.io/hashicorp/" + name
	return tf5server.Serve(address, func() tfprotov5.ProviderServer { return &server{schemas: schemas} })
}

func (f schemaFile) schemas() (*tfprotov5.GetProviderSchemaResponse, error) {
	config, err := f.Config.schema()
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", f.Provider, err)
	}
	out := &tfprotov5.GetProviderSchemaResponse{
		Provider:          config,
		ResourceSchemas:   map[string]*tfprotov5.Schema{},
		DataSourceSchemas: map[string]*tfprotov5.Schema{},
	}
	for name, s := range f.Resources {
		if out.ResourceSchemas[name], err = s.schema(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, s := range f.DataSources {
		if out.DataSourceSchemas[name], err = s.schema(); err != nil {
			return nil, fmt.Errorf("data %s: %w", name, err)
		}
	}
	return out, nil
}

func (s schemaJSON) schema() (*tfprotov5.Schema, error) {
	block, err := s.Block.block()
	if err != nil {
		return nil, err
	}
	return &tfprotov5.Schema{Version: s.Version, Block: block}, nil
}

var nestings = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
}

func (b blockJSON) block() (*tfprotov5.SchemaBlock, error) {
	out := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		kind, err := tftypes.ParseJSONType(a.Type) //nolint:staticcheck // the wire form of a type is what the file holds
		if err != nil {
			return nil, fmt.Errorf("%s: type: %w", name, err)
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind,
			Required: a.Required, Optional: a.Optional, Computed: a.Computed, WriteOnly: a.WriteOnly,
		})
	}
	for name, n := range b.BlockTypes {
		mode, ok := nestings[n.Nesting]
		if !ok {
			return nil, fmt.Errorf("%s: nesting mode: expected single, list or set, got %q", name, n.Nesting)
		}
		block, err := n.Block.block()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Nesting: mode, Block: block, MinItems: n.MinItems, MaxItems: n.MaxItems,
		})
	}
	return out, nil
}

// server answers what validation asks. Every other call of the interface is
// never made before a configured provider, and Configure refuses.
type server struct {
	tfprotov5.ProviderServer
	schemas *tfprotov5.GetProviderSchemaResponse
}

var errStub = errors.New("this provider is a stub that only knows schemas; it reaches no cloud")

func (s *server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	out := &tfprotov5.GetMetadataResponse{}
	for name := range s.schemas.ResourceSchemas {
		out.Resources = append(out.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range s.schemas.DataSourceSchemas {
		out.DataSources = append(out.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return out, nil
}

func (s *server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return s.schemas, nil
}

func (s *server) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (s *server) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (s *server) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (s *server) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{Diagnostics: []*tfprotov5.Diagnostic{{
		Severity: tfprotov5.DiagnosticSeverityError, Summary: "Stub provider", Detail: errStub.Error(),
	}}}, nil
}

func (s *server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}
