//! The entities of the store, read with the schema, so that the schema's actions and their hierarchy are among them.
//!
//! Each entity is read on its own, on all processors: those in plain JSON by [`Plain`], all others by Cedar. So a store
//! of millions never exists in Cedar's representation. Problems of several entities (one named twice, cycles) are
//! detected here, and if there are any, Cedar reports them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::{Entities, Entity, Schema};
use rayon::prelude::*;
use serde_json::value::RawValue;

use crate::diagnostic::{self, Diagnostic, Label, LoadError, MAX_REPORTED, Severity};
use crate::ir;
use crate::plain::Plain;
use crate::sources::SourceFile;
use crate::values::{self, Names};

/// The number of entities in one piece of work.
const CHUNK: usize = 1 << 11;
/// JSON nests at most 128 levels deep, and Cedar's reader takes a few kilobytes for each.
const STACK: usize = 16 << 20;

/// A callback for the number of entities read so far, and of all; called from any thread.
pub(crate) type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A reader of entities by a schema, for changes of a store.
#[derive(Debug)]
pub struct EntityReader {
    file: SourceFile,
    schema: Schema,
}

impl EntityReader {
    /// Create a reader for this schema.
    ///
    /// # Errors
    /// The errors in the schema.
    pub fn new(schema: &SourceFile) -> Result<Self, LoadError> {
        let (parsed, diagnostics) = crate::nesting::with_deep_stack(|| {
            let mut diagnostics = Vec::new();
            (crate::schema::parse(schema, &mut diagnostics), diagnostics)
        })
        .unwrap_or_else(|no_stack| (None, vec![failure(schema, no_stack.to_string())]));
        let parsed = parsed.ok_or(LoadError { diagnostics })?;
        Ok(Self { file: schema.clone(), schema: parsed })
    }

    /// Read a list of entities in Cedar's JSON. Return them sorted by uid.
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

/// Return whether a type is a type of actions.
fn is_action(ty: &str) -> bool {
    ty == "Action" || ty.ends_with("::Action")
}

/// Read the entities with Cedar alone.
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

/// Read the entities, or without a file only the schema's actions. Return them sorted by uid. Errors are added to
/// `diagnostics`.
pub(crate) fn read(
    file: Option<&SourceFile>,
    schema_file: &SourceFile,
    schema: &Schema,
    diagnostics: &mut Vec<Diagnostic>,
    progress: Progress<'_>,
) -> Option<Vec<ir::Entity>> {
    let list = match file.map(|file| (file, serde_json::from_str::<Vec<&RawValue>>(&file.text))) {
        None => Vec::new(),
        Some((_, Ok(list))) => list,
        // The file is not a list; Cedar reports that best.
        Some((file, Err(_))) => {
            diagnostics.extend(of_file(Some(file), schema_file, schema).err().into_iter().flat_map(|e| e.diagnostics));
            return None;
        }
    };
    let mut found = match file.map(|file| read_with_cedar(&list, file, schema, progress)) {
        None => Vec::new(),
        Some(Ok(found)) => found,
        Some(Err(mut errors)) => {
            diagnostics.append(&mut errors);
            return None;
        }
    };
    // Actions come from the schema. Cedar requires those in the file to be the same, all together.
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

/// Process a list on all processors, in threads that end with this call. If the list is too short for that, or the
/// system has no threads, call `alone`. (Rayon's own threads would stay, and if they could not be created it would
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

/// Read the entities of a list with Cedar, one by one.
fn read_with_cedar(
    list: &[&RawValue],
    file: &SourceFile,
    schema: &Schema,
    progress: Progress<'_>,
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
                Err(error) if errors.len() < MAX_REPORTED => errors.push(*error),
                Err(_) => break,
            }
        }
        progress(done.fetch_add(part.len(), Ordering::Relaxed) + part.len(), list.len());
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
    if errors.len() >= MAX_REPORTED {
        errors.truncate(MAX_REPORTED);
        errors.push(diagnostic::more(Severity::Error, file));
    }
    Err(errors)
}

/// Read one entity of the list. Errors name its place in the file.
fn one(raw: &RawValue, file: &SourceFile, schema: &Schema, names: &mut Names) -> Result<ir::Entity, Box<Diagnostic>> {
    let text = raw.get();
    // Raw values borrow from the text, so their place in it is the difference of the addresses.
    let start = (text.as_ptr() as usize).saturating_sub(file.text.as_ptr() as usize);
    let label = || vec![Label::new(start, text.lines().next().map_or(0, str::len))];
    let mut read = Entity::from_json_str(text, Some(schema));
    if read.is_err() {
        // Actions are checked all together later, since one may name its direct parents only.
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

/// Return the schema's actions. Cedar checks those in the file, if there are any, against them.
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

/// Convert Cedar's entity to ours.
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

/// Return whether an entity is its own ancestor. Only entities that have parents and are parents can be, and these are
/// few.
fn has_cycle(entities: &[ir::Entity]) -> bool {
    let above: HashSet<&ir::Uid> = entities.iter().flat_map(|entity| &entity.parents).collect();
    let between: HashMap<&ir::Uid, &[ir::Uid]> = entities
        .iter()
        .filter(|entity| !entity.parents.is_empty() && above.contains(&entity.uid))
        .map(|entity| (&entity.uid, &*entity.parents))
        .collect();
    // `false` marks entities on the current path, `true` those that are finished.
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
