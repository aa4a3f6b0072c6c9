// The OpenAPI page: lists the operations of /openapi.json. FastAPI's own loads its scripts from another server.
const make = (tag, text = "", ...children) => {
  const element = document.createElement(tag);
  element.textContent = text;
  element.append(...children);
  return element;
};

function makeTable(rows) {
  const table = make("table");
  for (const [name, type, text] of rows) {
    table.append(make("tr", "", make("th", name), make("td", type), make("td", text)));
  }
  return table;
}

function describeType(schema) {
  if (schema.anyOf) return schema.anyOf.map(describeType).filter((type) => type !== "null").join(" or ");
  return schema.format ?? schema.type ?? "";
}

function describeOperation(path, method, operation) {
  const section = make("section");
  section.className = "card";
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", operation.description ?? operation.summary));
  const schema = operation.requestBody?.content["multipart/form-data"]?.schema;
  const fields = Object.entries(schema?.properties ?? {});
  const rows = fields.map(([name, field]) => [name, describeType(field), field.description ?? ""]);
  for (const parameter of operation.parameters ?? []) {
    rows.push([parameter.name, describeType(parameter.schema), parameter.in]);
  }
  if (rows.length) section.append(makeTable(rows));
  return section;
}

const specification = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(specification.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    document.getElementById("operations").append(describeOperation(path, method, operation));
  }
}
