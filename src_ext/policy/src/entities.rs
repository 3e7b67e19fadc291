//! The entity store: read with the schema, so that the schema's actions and their hierarchy are in it.

use cedar_policy::{Entities, Entity, Schema};
use serde_json::value::RawValue;

use crate::SourceFile;
use crate::diagnostic::{self, Diagnostic, Label, MAX_TOLD, Severity};
use crate::ir;
use crate::values::{self, Names};

/// Reads the entities, or takes the schema's actions alone if there is no file. The errors are added to `diagnostics`.
pub(crate) fn parse(
    file: Option<&SourceFile>,
    schema_file: &SourceFile,
    schema: &Schema,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Entities> {
    let Some(file) = file else {
        return match schema.action_entities() {
            Ok(entities) => Some(entities),
            Err(error) => {
                diagnostics.push(diagnostic::of_cedar(Severity::Error, schema_file, &error, None));
                None
            }
        };
    };
    match Entities::from_json_str(&file.text, Some(schema)) {
        Ok(entities) => Some(entities),
        Err(error) => {
            let mut found = errors_by_entity(file, schema);
            if found.is_empty() {
                // Something between the entities, as a cycle or a duplicate, or no list at all.
                found.push(diagnostic::of_cedar(Severity::Error, file, &error, None));
            }
            diagnostics.append(&mut found);
            None
        }
    }
}

/// Cedar tells its first error only, and not where. So each entity of the list is read alone, to tell all of them.
fn errors_by_entity(file: &SourceFile, schema: &Schema) -> Vec<Diagnostic> {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(&file.text) else {
        return Vec::new();
    };
    let start_of_text = file.text.as_ptr() as usize;
    let mut found: Vec<Diagnostic> = list
        .iter()
        .filter_map(|entity| {
            let text = entity.get();
            let error = Entity::from_json_str(text, Some(schema)).err()?;
            // The raw values borrow from the text, so their place in it is the difference of the addresses.
            let start = (text.as_ptr() as usize).checked_sub(start_of_text)?;
            let (message, help) = diagnostic::describe(&error);
            let label = Label::new(start, text.lines().next().map_or(0, str::len));
            Some(diagnostic::build(Severity::Error, file, message, help, vec![label]))
        })
        .take(MAX_TOLD)
        .collect();
    if found.len() == MAX_TOLD {
        found.push(diagnostic::more(Severity::Error, file));
    }
    found
}

/// Our entities of Cedar's, sorted by uid.
pub(crate) fn of_cedar(entities: &Entities, names: &mut Names) -> Result<Vec<ir::Entity>, String> {
    let mut all = entities
        .iter()
        .map(|entity| {
            let entity = entity.as_ref();
            let uid = names.uid(entity.uid());
            let in_entity = |what: String| format!("{what} (in {})", entity.uid());
            Ok(ir::Entity {
                ancestors: entity.ancestors().map(|uid| names.uid(uid)).collect(),
                attrs: values::of_fields(entity.attrs(), names).map_err(in_entity)?,
                tags: values::of_fields(entity.tags(), names).map_err(in_entity)?,
                uid,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    all.sort_by(|a, b| a.uid.cmp(&b.uid));
    Ok(all)
}
