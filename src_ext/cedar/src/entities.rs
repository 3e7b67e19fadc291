//! The entity store: read with the schema, so that the schema's actions and their hierarchy are in it.
//!
//! Each entity is read on its own, on all processors: those in plain JSON by [`Plain`], all others by Cedar. A store of
//! millions is never there as Cedar's entities. What concerns several entities (one named twice, cycles) is looked at here, and
//! where something is found Cedar is asked for its own words.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::{Entities, Entity, Schema};
use rayon::prelude::*;
use serde_json::value::RawValue;

use crate::diagnostic::{self, Diagnostic, Label, LoadError, MAX_TOLD, Severity};
use crate::ir;
use crate::plain::Plain;
use crate::sources::SourceFile;
use crate::values::{self, Names};

/// Entities that are read as one piece of work.
const CHUNK: usize = 1 << 11;
/// JSON nests no deeper than 128 levels, and Cedar's reader takes a few kilobytes for each.
const STACK: usize = 16 << 20;

/// Called with the number of entities read so far, and of all; from any thread.
pub(crate) type Heard<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Reads entities by a schema, for those who change a store.
#[derive(Debug)]
pub struct EntityReader {
    file: SourceFile,
    schema: Schema,
}

impl EntityReader {
    /// A reader by this schema.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn new(schema: &SourceFile) -> Result<Self, LoadError> {
        let (parsed, diagnostics) = crate::nesting::with_deep_stack(|| {
            let mut diagnostics = Vec::new();
            (crate::schema::parse(schema, &mut diagnostics), diagnostics)
        })
        .unwrap_or_else(|no_stack| (None, vec![failure(schema, no_stack.to_string())]));
        let parsed = parsed.ok_or(LoadError { diagnostics })?;
        Ok(Self { file: schema.clone(), schema: parsed })
    }

    /// The entities of a list in Cedar's JSON, sorted by uid.
    ///
    /// # Errors
    /// Everything that does not fit the schema.
    pub fn read(&self, file: &SourceFile) -> Result<Vec<ir::Entity>, LoadError> {
        let mut diagnostics = Vec::new();
        let all = read(Some(file), &self.file, &self.schema, &mut diagnostics, &|_, _| {});
        let mut all = all.ok_or(LoadError { diagnostics })?;
        all.retain(|entity| !is_action(&entity.uid.ty));
        Ok(all)
    }
}

/// Whether a type is one of actions.
fn is_action(ty: &str) -> bool {
    ty == "Action" || ty.ends_with("::Action")
}

/// Reads the entities with Cedar alone.
pub(crate) fn of_file(
    file: Option<&SourceFile>,
    schema_file: &SourceFile,
    schema: &Schema,
) -> Result<Entities, LoadError> {
    let (read, file) = match file {
        Some(file) => (Entities::from_json_str(&file.text, Some(schema)), file),
        None => (schema.action_entities(), schema_file),
    };
    read.map_err(|error| LoadError { diagnostics: vec![diagnostic::of_cedar(Severity::Error, file, &error, None)] })
}

/// Reads the entities, or takes the schema's actions alone if there is no file; sorted by uid. The errors are added to
/// `diagnostics`.
pub(crate) fn read(
    file: Option<&SourceFile>,
    schema_file: &SourceFile,
    schema: &Schema,
    diagnostics: &mut Vec<Diagnostic>,
    heard: Heard<'_>,
) -> Option<Vec<ir::Entity>> {
    let list = match file.map(|file| (file, serde_json::from_str::<Vec<&RawValue>>(&file.text))) {
        None => Vec::new(),
        Some((_, Ok(list))) => list,
        // No list at all: Cedar says it best.
        Some((file, Err(_))) => {
            diagnostics.extend(of_file(Some(file), schema_file, schema).err().into_iter().flat_map(|e| e.diagnostics));
            return None;
        }
    };
    let mut found = match file.map(|file| listed(&list, file, schema, heard)) {
        None => Vec::new(),
        Some(Ok(found)) => found,
        Some(Err(mut errors)) => {
            diagnostics.append(&mut errors);
            return None;
        }
    };
    // Actions are the schema's. Those in the file must be the same, all together, as Cedar wants it.
    let listed_actions: Vec<&RawValue> =
        list.iter().zip(&found).filter(|(_, entity)| is_action(&entity.uid.ty)).map(|(raw, _)| *raw).collect();
    let actions = match of_actions(&listed_actions, file, schema_file, schema) {
        Ok(actions) => actions,
        Err(error) => {
            diagnostics.extend(error.diagnostics);
            return None;
        }
    };
    found.retain(|entity| !is_action(&entity.uid.ty));
    found.extend(actions);
    on_all_processors(
        &mut found,
        |found| found.par_sort_by(|a, b| a.uid.cmp(&b.uid)),
        |found| found.sort_by(|a, b| a.uid.cmp(&b.uid)),
    );
    found.dedup();
    let twice = found.windows(2).any(|pair| pair[0].uid == pair[1].uid);
    if twice || has_cycle(&found) {
        let error = of_file(file, schema_file, schema).err();
        let named = file.unwrap_or(schema_file);
        let unnamed = || vec![failure(named, "an entity is listed twice, or is its own ancestor".to_owned())];
        diagnostics.extend(error.map_or_else(unnamed, |error| error.diagnostics));
        return None;
    }
    Some(found)
}

/// Does something with a list on all processors, by threads of this call's own; `alone` where the list is too short to be
/// worth them, and where the system has none. (Rayon's own threads would stay, and once they could not be had it would
/// panic for ever.)
fn on_all_processors<L: AsRef<[E]> + Send, E, T: Send>(
    list: &mut L,
    together: impl FnOnce(&mut L) -> T + Send,
    alone: impl FnOnce(&mut L) -> T,
) -> T {
    if list.as_ref().len() <= CHUNK {
        return alone(list);
    }
    match rayon::ThreadPoolBuilder::new().stack_size(STACK).build() {
        Ok(pool) => pool.install(|| together(list)),
        Err(_) => alone(list),
    }
}

/// The entities of a list, each read by Cedar.
fn listed(
    list: &[&RawValue],
    file: &SourceFile,
    schema: &Schema,
    heard: Heard<'_>,
) -> Result<Vec<ir::Entity>, Vec<Diagnostic>> {
    let done = AtomicUsize::new(0);
    let plain = Plain::new(schema.as_ref());
    let chunk = |part: &[&RawValue]| {
        let mut names = Names::default();
        let (mut entities, mut errors) = (Vec::with_capacity(part.len()), Vec::new());
        for raw in part {
            let read = plain.read(raw, &mut names).map_or_else(|| one(raw, file, schema, &mut names), Ok);
            match read {
                Ok(entity) => entities.push(entity),
                Err(error) if errors.len() < MAX_TOLD => errors.push(*error),
                Err(_) => break,
            }
        }
        heard(done.fetch_add(part.len(), Ordering::Relaxed) + part.len(), list.len());
        (entities, errors)
    };
    let parts: Vec<_> = on_all_processors(
        &mut &*list,
        |list| list.par_chunks(CHUNK).map(chunk).collect(),
        |list| list.chunks(CHUNK).map(chunk).collect(),
    );
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut entities = Vec::with_capacity(list.len());
    for (mut some, mut wrong) in parts {
        entities.append(&mut some);
        errors.append(&mut wrong);
    }
    if errors.is_empty() {
        return Ok(entities);
    }
    if errors.len() >= MAX_TOLD {
        errors.truncate(MAX_TOLD);
        errors.push(diagnostic::more(Severity::Error, file));
    }
    Err(errors)
}

/// One entity of the list, whose error names its place in the file.
fn one(raw: &RawValue, file: &SourceFile, schema: &Schema, names: &mut Names) -> Result<ir::Entity, Box<Diagnostic>> {
    let text = raw.get();
    // Raw values borrow from the text, so their place in it is the difference of the addresses.
    let start = (text.as_ptr() as usize).saturating_sub(file.text.as_ptr() as usize);
    let label = || vec![Label::new(start, text.lines().next().map_or(0, str::len))];
    let mut read = Entity::from_json_str(text, Some(schema));
    if read.is_err() {
        // An action is looked at with all actions together, as it may name its parents only.
        let alone = Entity::from_json_str(text, None).ok();
        let action = alone.filter(|entity| entity.as_ref().uid().entity_type().is_action());
        read = action.map_or(read, Ok);
    }
    let entity = read.map_err(|error| {
        let (message, help) = diagnostic::describe(&error);
        Box::new(diagnostic::build(Severity::Error, file, message, help, label()))
    })?;
    of_cedar(&entity, names).map_err(|what| Box::new(diagnostic::build(Severity::Error, file, what, None, label())))
}

/// The schema's actions; Cedar checks those in the file, if there are any, against them.
fn of_actions(
    listed: &[&RawValue],
    file: Option<&SourceFile>,
    schema_file: &SourceFile,
    schema: &Schema,
) -> Result<Vec<ir::Entity>, LoadError> {
    let named = file.unwrap_or(schema_file);
    let refuse = |what: String| LoadError { diagnostics: vec![failure(named, what)] };
    let only = (!listed.is_empty()).then(|| {
        let texts: Vec<&str> = listed.iter().map(|raw| raw.get()).collect();
        SourceFile { name: named.name.clone(), text: format!("[{}]", texts.join(",")) }
    });
    let mut names = Names::default();
    let actions = of_file(only.as_ref(), schema_file, schema)?;
    actions.iter().map(|entity| of_cedar(entity, &mut names).map_err(refuse)).collect()
}

fn failure(file: &SourceFile, what: String) -> Diagnostic {
    diagnostic::build(Severity::Error, file, what, None, Vec::new())
}

/// Our entity of Cedar's.
pub(crate) fn of_cedar(entity: &Entity, names: &mut Names) -> Result<ir::Entity, String> {
    let entity = entity.as_ref();
    let in_entity = |what: String| format!("{what} (in {})", entity.uid());
    let mut parents: Vec<ir::Uid> = entity.parents().map(|uid| names.uid(uid)).collect();
    parents.sort_unstable();
    Ok(ir::Entity {
        uid: names.uid(entity.uid()),
        parents,
        attrs: values::of_fields(entity.attrs(), names).map_err(in_entity)?.into_iter().collect(),
        tags: values::of_fields(entity.tags(), names).map_err(in_entity)?.into_iter().collect(),
    })
}

/// Whether an entity is its own ancestor. Only those that are a parent and have one can be, and they are few.
fn has_cycle(entities: &[ir::Entity]) -> bool {
    let above: HashSet<&ir::Uid> = entities.iter().flat_map(|entity| &entity.parents).collect();
    let between: HashMap<&ir::Uid, &[ir::Uid]> = entities
        .iter()
        .filter(|entity| !entity.parents.is_empty() && above.contains(&entity.uid))
        .map(|entity| (&entity.uid, &*entity.parents))
        .collect();
    // Begun and not ended: on the way from the start.
    let mut ended: HashMap<&ir::Uid, bool> = HashMap::new();
    for &start in between.keys() {
        let mut pending = vec![(start, false)];
        while let Some((uid, leaves)) = pending.pop() {
            if leaves {
                ended.insert(uid, true);
                continue;
            }
            match ended.get(uid) {
                Some(true) => continue,
                Some(false) => return true,
                None => {}
            }
            let Some(parents) = between.get(uid) else { continue };
            ended.insert(uid, false);
            pending.push((uid, true));
            pending.extend(parents.iter().map(|parent| (parent, false)));
        }
    }
    false
}
