#!/usr/bin/env node
// Writes aws.json: the schema of those resource types that the
// modules use, in the form of `terraform providers schema -json`.
//
//   npm pack @cdktf/provider-aws@21.22.1 && tar xzf cdktf-provider-aws-*.tgz
//   node extract.js package aws aws_lb aws_db_instance … > aws.json
//
// The npm packages hold TypeScript bindings that were generated from the
// provider's own schema; the source map of each file holds the TypeScript. What
// is read from it: names, types, nesting, which arguments are required, optional
// or computed. What is not there, and so is not checked: the provider's own
// validation of values, MinItems above one, conflicts, sensitivity. Arguments
// whose name ends in _wo are write-only by the convention both providers keep.
"use strict";
const fs = require("fs");
const path = require("path");

const [pkg, provider, ...types] = process.argv.slice(2);
if (!pkg || !provider) {
  console.error("usage: extract.js PACKAGE_DIR PROVIDER TYPE… (data sources as data.TYPE)");
  process.exit(2);
}

function source(dir) {
  const js = fs.readFileSync(path.join(pkg, "lib", dir, "index.js"), "utf8");
  const read = (text) => {
    const map = text.match(/sourceMappingURL=data:application\/json;base64,(\S+)/);
    return JSON.parse(Buffer.from(map[1], "base64").toString()).sourcesContent[0];
  };
  // A type with very many nested blocks is split into several files.
  const dirPath = path.join(pkg, "lib", dir);
  const parts = fs.readdirSync(dirPath).filter((f) => f.endsWith(".js") && f !== "index.js");
  const nested = parts.map((f) => read(fs.readFileSync(path.join(dirPath, f), "utf8")));
  return [read(js), ...nested].join("\n");
}

function body(text, start) {
  const from = text.indexOf(start);
  if (from < 0) return null;
  const end = text.indexOf("\n}", from);
  return text.slice(from, end);
}

const scalar = { string: "string", number: "number", boolean: "bool" };

function plainType(kind, storage) {
  if (scalar[storage]) return scalar[storage];
  if (storage === "any") return "dynamic";
  const m = storage.match(/^(string|number|boolean|any)(List|Map|ListList|MapList)$/);
  if (!m) throw new Error(`type ${kind} of ${storage} is not known`);
  const inner = m[1] === "any" ? "dynamic" : scalar[m[1]];
  if (m[2] === "Map") return ["map", inner];
  if (m[2] === "List") return [kind === "set" ? "set" : "list", inner];
  if (m[2] === "ListList") return ["list", ["list", inner]];
  return ["list", ["map", inner]];
}

// The HCL functions name every settable argument with its type; the comments in
// the class name every attribute with its flags.
function block(text, cls, isResource) {
  const out = { attributes: {}, block_types: {} };
  const code =
    body(text, `export class ${cls} extends`) || body(text, `export class ${cls}OutputReference extends`);
  if (!code) throw new Error(`no class ${cls}`);
  const hclFrom = isResource
    ? code.slice(code.indexOf("synthesizeHclAttributes"))
    : body(text, `export function ${cls[0].toLowerCase()}${cls.slice(1)}ToHclTerraform(`) || "";
  const settable = {};
  const argument =
    /^ {4,6}"?(\w+)"?: \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",/gm;
  for (const m of hclFrom.matchAll(argument)) {
    settable[m[1]] = { many: m[2].includes("istMapperHcl("), isBlock: m[3] === "true", kind: m[4], storage: m[5] };
  }
  const flags = /\/\/ (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n([\s\S]*?\n  \})/g;
  for (const m of code.matchAll(flags)) {
    const [, name, computed, optional, required, getter] = m;
    const arg = settable[name];
    delete settable[name];
    if (arg && arg.isBlock) {
      const child = arg.storage.replace(/List$/, "").replace(/Map$/, "");
      const single = arg.kind === "struct";
      const nested = block(text, child, false);
      out.block_types[name] = {
        nesting_mode: single ? "single" : arg.kind,
        block: nested,
        ...(required === "true" && !single ? { min_items: 1 } : {}),
        ...(!arg.many && !single ? { max_items: 1 } : {}),
      };
      continue;
    }
    const attribute = { type: arg ? plainType(arg.kind, arg.storage) : computedType(text, getter, name) };
    if (required === "true") attribute.required = true;
    if (optional === "true") attribute.optional = true;
    if (computed === "true") attribute.computed = true;
    if (name.endsWith("_wo")) attribute.write_only = true;
    out.attributes[name] = attribute;
  }
  const left = Object.keys(settable);
  if (left.length) throw new Error(`${cls}: no flags for ${left.join(", ")}`);
  return out;
}

function computedType(text, getter, name) {
  if (/getStringAttribute/.test(getter)) return "string";
  if (/getNumberAttribute/.test(getter)) return "number";
  if (/getBooleanAttribute/.test(getter)) return "bool";
  const list = /Fn\.tolist/.test(getter) ? "set" : "list";
  if (/getListAttribute/.test(getter)) return [list, "string"];
  if (/getNumberListAttribute/.test(getter)) return [list, "number"];
  const map = getter.match(/new cdktf\.(String|Number|Boolean|Any)Map\(/);
  if (map) return ["map", { String: "string", Number: "number", Boolean: "bool", Any: "dynamic" }[map[1]]];
  const nested = getter.match(/new (\w+?)(List|Map|OutputReference)\(this, "\w+"(?:, (true|false))?/);
  if (nested) {
    const inner = block(text, nested[1], false);
    const object = Object.fromEntries(Object.entries(inner.attributes).map(([k, v]) => [k, v.type]));
    if (nested[2] === "OutputReference") return ["object", object];
    if (nested[2] === "Map") return ["map", ["object", object]];
    return [nested[3] === "true" ? "set" : "list", ["object", object]];
  }
  throw new Error(`${name}: cannot tell the type from ${getter}`);
}

function dirOf(type) {
  const data = type.startsWith("data.");
  const name = data ? type.slice(5) : type;
  return (data ? `data-${provider}-` : "") + name.slice(provider.length + 1).replace(/_/g, "-");
}

function schemaOf(type) {
  const text = source(dirOf(type));
  const cls = text.match(/export class (\w+) extends cdktf\.Terraform(?:Resource|DataSource) /)[1];
  return { version: 0, block: block(text, cls, true) };
}

const providerText = source("provider");
const providerClass = providerText.match(/export class (\w+) extends cdktf\.TerraformProvider /)[1];

function providerBlock() {
  // The provider's class keeps no flags; nothing in either provider's
  // configuration is required but azurerm's features block.
  const code = body(providerText, `export class ${providerClass} extends`);
  const hcl = code.slice(code.indexOf("synthesizeHclAttributes"));
  const out = { attributes: {}, block_types: {} };
  const argument =
    /^ {4,6}"?(\w+)"?: \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",/gm;
  for (const m of hcl.matchAll(argument)) {
    if (m[3] === "false") {
      out.attributes[m[1]] = { type: plainType(m[4], m[5]), optional: true };
    } else if (m[1] === "features" || m[1] === "default_tags") {
      const inner = m[1] === "features" ? {} : { tags: { type: ["map", "string"], optional: true } };
      out.block_types[m[1]] = { nesting_mode: "list", block: { attributes: inner, block_types: {} }, max_items: 1 };
    }
  }
  return { version: 0, block: out };
}

const version = source(dirOf(types[0])).match(/providerVersion: '([^']+)'/)[1];
const out = { provider, version, provider_schema: providerBlock(), resource_schemas: {}, data_source_schemas: {} };
for (const type of types.sort()) {
  if (type.startsWith("data.")) out.data_source_schemas[type.slice(5)] = schemaOf(type);
  else out.resource_schemas[type] = schemaOf(type);
}
console.log(JSON.stringify(out, null, 1));
