//! The policy files: Cedar text, JSON policy sets and template links become one policy set, in which each policy has
//! the id that decisions name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, SlotId, Template};
use cedar_policy_core::ast;
use cedar_policy_core::parser::Loc;
use serde::Deserialize;

use crate::diagnostic::{self, Diagnostic, Label, Severity, shown};
use crate::json::no_key_twice;
use crate::nesting::{Brackets, too_deep};
use crate::sources::SourceFile;
use crate::step_up;

/// The policies of all files.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Cedar's own policy set, with our ids.
    pub set: PolicySet,
    /// The ids of the policies that can be satisfied: static policies in source order, then links.
    pub order: Vec<PolicyId>,
    /// The origin of each policy, template and link.
    pub origins: HashMap<PolicyId, Origin>,
}

/// The origin of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The index of its file.
    pub file: usize,
    /// The first line (from 1) in that file.
    pub line: u32,
    /// The policy's text; a link has its template's.
    pub source: Arc<str>,
    /// The place where it got its id, which for a link is not its template's.
    pub named: Place,
}

/// A place to point at.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The index of the file.
    pub file: usize,
    /// The text to underline, if it is known.
    pub label: Option<Label>,
}

impl Place {
    /// Write the place as `file:line`.
    fn text(&self, files: &[SourceFile]) -> String {
        let file = &files[self.file];
        let line = self.label.as_ref().map_or(1, |label| diagnostic::position(&file.text, label.start).0);
        format!("{}:{line}", shown(&file.name))
    }
}

/// A link in a file, in the format of Cedar's command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkText {
    template_id: String,
    link_id: String,
    args: BTreeMap<String, String>,
}

/// A link with the final id of its template.
struct Link {
    template: PolicyId,
    id: PolicyId,
    values: HashMap<SlotId, EntityUid>,
    named: Place,
}

/// A policy or template as parsed, with Cedar's id.
enum Item {
    Static(Policy),
    Template(Template),
}

impl Item {
    fn id(&self) -> &PolicyId {
        match self {
            Self::Static(policy) => policy.id(),
            Self::Template(template) => template.id(),
        }
    }

    fn ast(&self) -> &ast::Template {
        match self {
            Self::Static(policy) => policy.as_ref().template(),
            Self::Template(template) => template.as_ref(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Static(policy) => policy.to_cedar().unwrap_or_else(|| policy.to_string()),
            Self::Template(template) => template.to_cedar(),
        }
    }

    /// Return the `@id` annotation, unless it is empty.
    fn annotated_id(&self) -> Option<&str> {
        let id = match self {
            Self::Static(policy) => policy.annotation("id"),
            Self::Template(template) => template.annotation("id"),
        };
        id.filter(|id| !id.is_empty())
    }
}

/// The source of ids for policies without an annotation.
enum Naming {
    /// Cedar's own ids, numbered within the file, with the file's stem in front if there are several files.
    Numbered,
    /// The ids that the file states.
    Stated,
}

/// The kind of a file.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Json,
    Links,
}

fn kind(file: &SourceFile) -> Kind {
    // No policy in Cedar's syntax begins with one of these.
    match file.first_char() {
        Some('{') => Kind::Json,
        Some('[') => Kind::Links,
        _ if file.is_named_json() => Kind::Json,
        _ => Kind::Text,
    }
}

/// Read all policy files. Errors are added to `diagnostics`, and the result then lacks the policies that they concern.
pub(crate) fn parse(files: &[SourceFile], diagnostics: &mut Vec<Diagnostic>) -> Policies {
    let several = files.iter().filter(|file| kind(file) != Kind::Links).count() > 1;
    let mut reader = Reader { files, diagnostics, several, policies: Policies::default(), links: Vec::new() };
    for (index, file) in files.iter().enumerate() {
        match kind(file) {
            Kind::Text => reader.text(index, file),
            Kind::Json => reader.json(index, file),
            Kind::Links => {}
        }
    }
    // Links come last, because they may stand before their templates.
    for (index, file) in files.iter().enumerate() {
        if kind(file) == Kind::Links {
            reader.link_file(index, file);
        }
    }
    reader.finish()
}

struct Reader<'a> {
    files: &'a [SourceFile],
    diagnostics: &'a mut Vec<Diagnostic>,
    several: bool,
    policies: Policies,
    links: Vec<Link>,
}

impl Reader<'_> {
    fn text(&mut self, index: usize, file: &SourceFile) {
        if let Some((at, what)) = too_deep(&file.text, Brackets::OfPolicies) {
            let label = vec![Label::new(at, 1)];
            return self.diagnostics.push(diagnostic::build(Severity::Error, file, what, None, label));
        }
        match file.text.parse::<PolicySet>() {
            Ok(set) => {
                // Cedar keeps policies and templates apart; their places in the text restore the order.
                let mut items: Vec<Item> = set.policies().cloned().map(Item::Static).collect();
                items.extend(set.templates().cloned().map(Item::Template));
                items.sort_by_key(|item| item.ast().loc().map(Loc::start));
                self.warn_if_empty(items.is_empty(), index, "policy");
                // Lines are counted along: counting from the start for each of many policies takes long.
                let (mut line, mut counted) = (1, 0);
                for item in items {
                    if let Some(loc) = item.ast().loc() {
                        line += lines(file.text.get(counted..loc.start()).unwrap_or_default());
                        counted = loc.start();
                    }
                    self.add(index, line, item, &Naming::Numbered);
                }
            }
            Err(errors) => {
                let errors = errors.iter().map(|e| diagnostic::of_cedar(Severity::Error, file, e, None));
                self.diagnostics.extend(errors);
            }
        }
    }

    fn json(&mut self, index: usize, file: &SourceFile) {
        let value = no_key_twice(&file.text).and_then(|()| serde_json::from_str::<serde_json::Value>(&file.text));
        let value = match value {
            Ok(value) => value,
            Err(error) => return self.diagnostics.push(diagnostic::of_json(file, "this is not valid JSON", &error)),
        };
        if value.get("effect").is_some() {
            return self.single_json(index, file, value);
        }
        let set = match PolicySet::from_json_str(&file.text) {
            Ok(set) => set,
            Err(error) => {
                let error = diagnostic::of_cedar(Severity::Error, file, &error, None);
                return self.diagnostics.push(error);
            }
        };
        self.warn_if_empty(set.policies().next().is_none() && set.templates().next().is_none(), index, "policy");
        for policy in set.policies().filter(|policy| policy.is_static()) {
            self.add(index, 1, Item::Static(policy.clone()), &Naming::Stated);
        }
        let mut renamed = HashMap::new();
        for template in set.templates() {
            let stated = template.id().clone();
            if let Some(id) = self.add(index, 1, Item::Template(template.clone()), &Naming::Stated) {
                renamed.insert(stated, id);
            }
        }
        for link in set.policies() {
            // The template was refused and reported, so its links are not.
            if let (Some(template), Some(values)) = (link.template_id(), link.template_links())
                && let Some(template) = renamed.get(template)
            {
                let (template, id) = (template.clone(), link.id().clone());
                let named = Place { file: index, label: None };
                self.links.push(Link { template, id, values, named });
            }
        }
    }

    /// Read a file with one policy or template in JSON, without an id.
    fn single_json(&mut self, index: usize, file: &SourceFile, value: serde_json::Value) {
        let id = PolicyId::new("policy0");
        match Policy::from_json(Some(id.clone()), value.clone()) {
            Ok(policy) => {
                self.add(index, 1, Item::Static(policy), &Naming::Numbered);
            }
            Err(error) => match Template::from_json(Some(id), value) {
                Ok(template) if template.slots().next().is_some() => {
                    self.add(index, 1, Item::Template(template), &Naming::Numbered);
                }
                _ => self.diagnostics.push(diagnostic::of_cedar(Severity::Error, file, &error, None)),
            },
        }
    }

    /// Give an item that begins on this line its id, and add it to the set, unless the id is taken.
    fn add(&mut self, index: usize, line: u32, item: Item, naming: &Naming) -> Option<PolicyId> {
        let id = match (item.annotated_id(), naming) {
            (Some(id), _) => PolicyId::new(id),
            (None, Naming::Numbered) if self.several => {
                let stem = Path::new(&self.files[index].name).file_stem().unwrap_or_default();
                PolicyId::new(format!("{}.{}", stem.to_string_lossy(), item.id()))
            }
            (None, _) => item.id().clone(),
        };
        let ast = item.ast();
        let origin = match ast.loc() {
            Some(loc) => {
                let text_of_policy = loc.snippet().unwrap_or_default();
                let annotation = ast.annotations().find(|(key, _)| key.as_ref() == "id");
                let label = match annotation.and_then(|(_, annotation)| annotation.loc.as_ref()) {
                    Some(loc) => Label::new(loc.start(), loc.end() - loc.start()),
                    None => first_line(loc.start(), text_of_policy),
                };
                Origin {
                    file: index,
                    line,
                    source: Arc::from(text_of_policy),
                    named: Place { file: index, label: Some(label) },
                }
            }
            None => {
                Origin { file: index, line, source: Arc::from(item.text()), named: Place { file: index, label: None } }
            }
        };
        if let Some(wrong) = step_up::check(ast, &self.files[index], origin.named.label.as_ref()) {
            self.diagnostics.push(wrong);
        }
        if !self.is_new(&id, &origin.named) {
            return None;
        }
        let added = match item {
            Item::Static(policy) => {
                self.policies.order.push(id.clone());
                self.policies.set.add(policy.new_id(id.clone()))
            }
            Item::Template(template) => self.policies.set.add_template(template.new_id(id.clone())),
        };
        if let Err(error) = added {
            let error = diagnostic::of_cedar(Severity::Error, &self.files[index], &error, origin.named.label);
            self.diagnostics.push(error);
            return None;
        }
        self.policies.origins.insert(id.clone(), origin);
        Some(id)
    }

    /// Return whether an id is free; if it is not, report where it is used.
    fn is_new(&mut self, id: &PolicyId, here: &Place) -> bool {
        let Some(Origin { named: first, .. }) = self.policies.origins.get(id) else { return true };
        let mut labels: Vec<Label> = here.label.iter().map(|l| l.clone().saying("again here")).collect();
        if first.file == here.file {
            labels.extend(first.label.iter().map(|l| l.clone().saying("first here")));
        }
        self.diagnostics.push(diagnostic::build(
            Severity::Error,
            &self.files[here.file],
            format!("duplicate policy id `{id}`: {} and {}", first.text(self.files), here.text(self.files)),
            Some("decisions name policies by their ids: give one of them another id, as @id(\"...\")".to_owned()),
            labels,
        ));
        false
    }

    fn link_file(&mut self, index: usize, file: &SourceFile) {
        let links = no_key_twice(&file.text).and_then(|()| serde_json::from_str(&file.text));
        let links: Vec<LinkText> = match links {
            Ok(links) => links,
            Err(error) => {
                let what = "this is not a list of links, each with \"template_id\", \"link_id\" and \"args\"";
                return self.diagnostics.push(diagnostic::of_json(file, what, &error));
            }
        };
        self.warn_if_empty(links.is_empty(), index, "link");
        // JSON gives no places, so the label points at the id as it is written.
        let mut searched = 0;
        for link in links {
            let quoted = serde_json::to_string(&link.link_id).unwrap_or_default();
            let found = file.text.get(searched..).and_then(|rest| rest.find(&quoted));
            let label = found.map(|at| Label::new(searched + at, quoted.len()));
            searched = label.as_ref().map_or(searched, |label| label.start + label.len);
            let mut values = HashMap::new();
            let mut wrong = None;
            for (slot, uid) in &link.args {
                let slot_id = match slot.as_str() {
                    "?principal" => SlotId::principal(),
                    "?resource" => SlotId::resource(),
                    _ => {
                        wrong = Some(format!("`{}` is not a slot: write \"?principal\" or \"?resource\"", shown(slot)));
                        break;
                    }
                };
                // Our own parser is used: Cedar's core parser accepts comments, and that of `EntityUid` rejects
                // escapes.
                match crate::values::parse_uid(uid).and_then(|uid| crate::values::uid_to_cedar(&uid)) {
                    Ok(uid) => {
                        values.insert(slot_id, EntityUid::from(uid));
                    }
                    Err(error) => {
                        wrong = Some(format!("`{}` is no entity uid: {error}", shown(uid)));
                        break;
                    }
                }
            }
            if let Some(wrong) = wrong {
                let message = format!("link `{}`: {wrong}", shown(&link.link_id));
                let labels = label.into_iter().collect();
                self.diagnostics.push(diagnostic::build(Severity::Error, file, message, None, labels));
                continue;
            }
            self.links.push(Link {
                template: PolicyId::new(link.template_id),
                id: PolicyId::new(link.link_id),
                values,
                named: Place { file: index, label },
            });
        }
    }

    /// Warn of a file without content, which may have been truncated.
    fn warn_if_empty(&mut self, empty: bool, index: usize, what: &str) {
        if empty {
            let message = format!("there is no {what} in this file");
            let warning = diagnostic::build(Severity::Warning, &self.files[index], message, None, Vec::new());
            self.diagnostics.push(warning);
        }
    }

    /// Warn of templates that are never linked: they neither permit nor forbid.
    fn warn_of_unlinked(&mut self, linked: &HashSet<PolicyId>) {
        let unlinked = self.policies.set.templates().map(Template::id).filter(|id| !linked.contains(*id));
        let mut unlinked: Vec<(&PolicyId, &Place)> =
            unlinked.filter_map(|id| Some((id, &self.policies.origins.get(id)?.named))).collect();
        unlinked.sort_by_key(|(_, place)| (place.file, place.label.as_ref().map(|label| label.start)));
        let help = "link it in a *.links.json file, or take it out";
        let warnings = unlinked.into_iter().map(|(id, place)| {
            let message = format!("template `{id}` is never linked, so it neither permits nor forbids anything");
            let labels = place.label.iter().cloned().collect();
            diagnostic::build(Severity::Warning, &self.files[place.file], message, Some(help.to_owned()), labels)
        });
        self.diagnostics.extend(warnings);
    }

    /// Link the templates, in the order of the files.
    fn finish(mut self) -> Policies {
        let mut links = std::mem::take(&mut self.links);
        let mut linked_templates = HashSet::new();
        links.sort_by_key(|link| link.named.file);
        for link in links {
            if !self.is_new(&link.id, &link.named) {
                continue;
            }
            let linked = self.policies.set.link(link.template.clone(), link.id.clone(), link.values);
            if let Err(error) = linked {
                let file = &self.files[link.named.file];
                let (message, help) = diagnostic::describe(&error);
                let message = format!("link `{}` of template `{}`: {message}", link.id, link.template);
                let labels = link.named.label.into_iter().collect();
                self.diagnostics.push(diagnostic::build(Severity::Error, file, message, help, labels));
                continue;
            }
            linked_templates.insert(link.template.clone());
            // The source of a link is its template's text.
            if let Some(template) = self.policies.origins.get(&link.template) {
                let origin = Origin { named: link.named, ..template.clone() };
                self.policies.origins.insert(link.id.clone(), origin);
            }
            self.policies.order.push(link.id);
        }
        // If a link was refused, that its template is unlinked is no news.
        if !diagnostic::refused(self.diagnostics) {
            self.warn_of_unlinked(&linked_templates);
        }
        self.policies
    }
}

/// Count the line ends in a text.
fn lines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX)
}

/// Label the first line of a text that starts at this offset of its file.
fn first_line(start: usize, text: &str) -> Label {
    Label::new(start, text.lines().next().map_or(0, str::len))
}
