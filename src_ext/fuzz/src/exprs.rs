//! Random expressions: well-typed, except for some near misses.

use crate::dice::{chance, pick};
use crate::literals::Literals;
use crate::texts::{quoted, uid_text};
use crate::tree::{Kind, Tree};
use crate::types::{Action, Field, Ty};
use crate::world::World;
use fastrand::Rng;

/// A path to a value: an expression, and the condition under which it does not err.
#[derive(Clone)]
struct Path {
    ty: Ty,
    text: String,
    guards: Vec<String>,
}

/// Makes expressions for requests of one action by principals and for resources of one type.
pub(crate) struct Exprs<'w> {
    world: &'w World,
    principal: usize,
    action: String,
    paths: Vec<Path>,
    /// The percentage of parts with a type other than the right one.
    near_miss: u32,
    /// The only variable that is read, if not all are.
    pub only: Option<&'static str>,
    /// The guards that the expression so far needs and does not have.
    open: Vec<String>,
    /// Guards that are left to an earlier clause.
    pub earlier: Vec<String>,
}

/// The longest path.
const REACH: u32 = 3;

pub(crate) const fn kind(ty: &Ty) -> Kind {
    match ty {
        Ty::Bool => Kind::Bool,
        Ty::Long => Kind::Long,
        Ty::Text => Kind::Text,
        Ty::Decimal | Ty::Datetime | Ty::Duration | Ty::Ip => Kind::Extension,
        Ty::Entity(_) => Kind::Entity,
        Ty::Set(_) => Kind::Set,
        Ty::Record(_) => Kind::Record,
    }
}

fn access(base: &str, name: &str) -> String {
    if name.contains(' ') { format!("{base}[{name:?}]") } else { format!("{base}.{name}") }
}

fn has(base: &str, name: &str) -> String {
    if name.contains(' ') { format!("({base} has {name:?})") } else { format!("({base} has {name})") }
}

impl<'w> Exprs<'w> {
    pub fn new(world: &'w World, action: &Action, principal: usize, resource: usize, near_miss: u32) -> Self {
        let mut exprs = Self {
            world,
            principal,
            action: uid_text(&action.uid),
            paths: Vec::new(),
            near_miss,
            only: None,
            open: Vec::new(),
            earlier: Vec::new(),
        };
        let variable = |ty, text: &str| Path { ty, text: text.to_owned(), guards: Vec::new() };
        exprs.reach(variable(Ty::Entity(principal), "principal"), 0);
        exprs.reach(variable(Ty::Entity(resource), "resource"), 0);
        exprs.reach(variable(Ty::Record(action.context.clone()), "context"), 0);
        exprs
    }

    fn reach(&mut self, path: Path, depth: u32) {
        if depth < REACH {
            let fields: &[Field] = match &path.ty {
                Ty::Entity(ty) => &self.world.types[*ty].attrs,
                Ty::Record(fields) => fields,
                _ => &[],
            };
            for field in fields.iter().cloned() {
                let mut guards = path.guards.clone();
                if !field.required {
                    guards.push(has(&path.text, &field.name));
                }
                let text = access(&path.text, &field.name);
                self.reach(Path { ty: field.ty, text, guards }, depth + 1);
            }
            if let Ty::Entity(ty) = &path.ty
                && let Some(tags) = &self.world.types[*ty].tags
            {
                let key = format!("{:?}", "a");
                let mut guards = path.guards.clone();
                guards.push(format!("{}.hasTag({key})", path.text));
                let text = format!("{}.getTag({key})", path.text);
                self.reach(Path { ty: tags.clone(), text, guards }, depth + 1);
            }
        }
        self.paths.push(path);
    }

    /// Make an expression of a type that is read from the request or the store, if there is one.
    fn path(&mut self, rng: &mut Rng, fits: impl Fn(&Ty) -> bool) -> Option<Tree> {
        let of = self.only.unwrap_or_default();
        let fits = |path: &Path| fits(&path.ty) && path.text.starts_with(of);
        let fitting: Vec<usize> = (0..self.paths.len()).filter(|&at| fits(&self.paths[at])).collect();
        if fitting.is_empty() {
            return None;
        }
        let path = self.paths[*pick(rng, &fitting)].clone();
        for guard in path.guards {
            match rng.u32(0..20) {
                // Without a guard, the expression may err.
                0..3 => {}
                3..6 => self.earlier.push(guard),
                _ => self.open.push(guard),
            }
        }
        Some(Tree::leaf(kind(&path.ty), path.text))
    }

    /// Make a boolean, preceded by the guards of what it reads.
    pub fn guarded(&mut self, rng: &mut Rng, depth: u32) -> Tree {
        let outer = std::mem::take(&mut self.open);
        let made = self.boolean(rng, depth);
        let guards = std::mem::replace(&mut self.open, outer);
        guards
            .into_iter()
            .rev()
            .fold(made, |made, guard| Tree::of(Kind::Bool, "(_ && _)", [Tree::leaf(Kind::Bool, guard), made]))
    }

    /// Make an expression of a type.
    pub fn expr(&mut self, rng: &mut Rng, ty: &Ty, depth: u32) -> Tree {
        if chance(rng, self.near_miss) {
            let other = [Ty::Bool, Ty::Long, Ty::Text, Ty::Ip, Ty::Entity(self.principal), Ty::Set(Box::new(Ty::Long))];
            let other = pick(rng, &other).clone();
            return Tree { kind: kind(ty), ..self.typed(rng, &other, depth) };
        }
        self.typed(rng, ty, depth)
    }

    fn typed(&mut self, rng: &mut Rng, ty: &Ty, depth: u32) -> Tree {
        if *ty == Ty::Bool {
            return self.guarded(rng, depth);
        }
        if depth > 0 && chance(rng, 8) {
            let test = self.guarded(rng, depth - 1);
            let arms = [self.expr(rng, ty, depth - 1), self.expr(rng, ty, depth - 1)];
            return Tree::of(kind(ty), "(if _ then _ else _)", [test].into_iter().chain(arms));
        }
        if chance(rng, 65)
            && let Some(path) = self.path(rng, |found| found == ty)
        {
            return path;
        }
        let deeper = depth > 0 && rng.bool();
        match ty {
            Ty::Long if deeper => {
                let mut operand = || self.expr(rng, &Ty::Long, depth - 1);
                let (a, b) = (operand(), operand());
                match rng.u32(0..6) {
                    0 => Tree::of(Kind::Long, "(_ + _)", [a, b]),
                    1 => Tree::of(Kind::Long, "(_ - _)", [a, b]),
                    2 => Tree::of(Kind::Long, "(_ * _)", [a, b]),
                    3 => Tree::of(Kind::Long, "(-_)", [a]),
                    4 => {
                        let method = ["toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"][rng.usize(0..5)];
                        let of = self.expr(rng, &Ty::Duration, depth - 1);
                        Tree::of(Kind::Long, &format!("_.{method}()"), [of])
                    }
                    _ => a,
                }
            }
            Ty::Datetime if deeper => {
                let of = self.expr(rng, &Ty::Datetime, depth - 1);
                if rng.bool() {
                    return Tree::of(Kind::Extension, "_.toDate()", [of]);
                }
                let by = self.expr(rng, &Ty::Duration, depth - 1);
                Tree::of(Kind::Extension, "_.offset(_)", [of, by])
            }
            Ty::Duration if deeper => {
                let of = self.expr(rng, &Ty::Datetime, depth - 1);
                if rng.bool() {
                    return Tree::of(Kind::Extension, "_.toTime()", [of]);
                }
                let other = self.expr(rng, &Ty::Datetime, depth - 1);
                Tree::of(Kind::Extension, "_.durationSince(_)", [of, other])
            }
            Ty::Set(element) if deeper => {
                // Strict validation refuses empty sets.
                let count = if chance(rng, self.near_miss) { 0 } else { rng.usize(1..4) };
                let elements = (0..count).map(|_| self.expr(rng, element, depth - 1)).collect();
                Tree::joined(Kind::Set, "[", ", ", "]", elements)
            }
            Ty::Record(fields) if deeper => {
                let mut made = Tree::leaf(Kind::Record, "{");
                let fields: Vec<Field> = fields.iter().filter(|f| f.required || rng.bool()).cloned().collect();
                for (at, field) in fields.iter().enumerate() {
                    let value = self.expr(rng, &field.ty, depth - 1);
                    let before = format!("{}{}: ", if at > 0 { ", " } else { "" }, quoted(&field.name));
                    made.parts.push(crate::tree::Part::Text(before));
                    made.parts.push(crate::tree::Part::Tree(value));
                }
                made.parts.push(crate::tree::Part::Text("}".to_owned()));
                made
            }
            Ty::Text if chance(rng, 5) => Tree::leaf(Kind::Text, quoted(&Literals::odd_text(rng))),
            Ty::Entity(_) if chance(rng, self.near_miss / 2) => Tree::leaf(Kind::Entity, self.action.clone()),
            _ => Tree::leaf(kind(ty), self.world.literal(rng, ty)),
        }
    }

    fn some_entity(&mut self, rng: &mut Rng, depth: u32) -> Tree {
        let ty = rng.usize(0..self.world.types.len());
        if let Some(only) = self.only.filter(|only| *only != "context" && rng.bool()) {
            return Tree::leaf(Kind::Entity, only);
        }
        match rng.u32(0..10) {
            0..3 => Tree::leaf(Kind::Entity, "principal"),
            3..6 => Tree::leaf(Kind::Entity, "resource"),
            6 => Tree::leaf(Kind::Entity, "action"),
            _ => self.expr(rng, &Ty::Entity(ty), depth),
        }
    }

    fn some_type(&mut self, rng: &mut Rng) -> Ty {
        self.paths[rng.usize(0..self.paths.len())].ty.clone()
    }

    fn boolean(&mut self, rng: &mut Rng, depth: u32) -> Tree {
        let bool_of = |pattern: &str, parts: Vec<Tree>| Tree::of(Kind::Bool, pattern, parts);
        if depth > 0 && chance(rng, 45) {
            let mut inner = || self.guarded(rng, depth - 1);
            let (a, b, c) = (inner(), inner(), inner());
            return match rng.u32(0..12) {
                0..3 => bool_of("(_ && _)", vec![a, b]),
                3..6 => bool_of("(_ || _)", vec![a, b]),
                6 => bool_of("!(_ && _)", vec![a, b]),
                7 => bool_of("!(_ || _)", vec![a, b]),
                8 => bool_of("!_", vec![a]),
                9 => bool_of("(_ == _)", vec![a, b]),
                _ => bool_of("(if _ then _ else _)", vec![a, b, c]),
            };
        }
        let depth = depth.saturating_sub(1);
        match rng.u32(0..24) {
            0..5 => {
                let operator = ["<", "<=", ">", ">=", "==", "!="][rng.usize(0..6)];
                let ty = if chance(rng, 75) { Ty::Long } else { [Ty::Datetime, Ty::Duration][rng.usize(0..2)].clone() };
                let parts = vec![self.expr(rng, &ty, depth), self.expr(rng, &ty, depth)];
                bool_of(&format!("(_ {operator} _)"), parts)
            }
            5..8 => {
                let ty = self.some_type(rng);
                let parts = vec![self.expr(rng, &ty, depth), self.expr(rng, &ty, depth)];
                bool_of(if rng.bool() { "(_ == _)" } else { "(_ != _)" }, parts)
            }
            8 => {
                let of = self.expr(rng, &Ty::Text, depth);
                let pattern = self.world.literals.pattern(rng).replace('_', "");
                let mut made = Tree::joined(Kind::Bool, "(", "", "", vec![of]);
                made.parts.push(crate::tree::Part::Text(format!(" like {pattern})")));
                made
            }
            9 => {
                let method = ["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"][rng.usize(0..4)];
                let parts = vec![self.expr(rng, &Ty::Decimal, depth), self.expr(rng, &Ty::Decimal, depth)];
                bool_of(&format!("_.{method}(_)"), parts)
            }
            10 => {
                let method = ["isIpv4", "isIpv6", "isLoopback", "isMulticast"][rng.usize(0..4)];
                let of = self.expr(rng, &Ty::Ip, depth);
                bool_of(&format!("_.{method}()"), vec![of])
            }
            11 => {
                let parts = vec![self.expr(rng, &Ty::Ip, depth), self.expr(rng, &Ty::Ip, depth)];
                bool_of("_.isInRange(_)", parts)
            }
            12..15 => {
                let (a, b) = (self.some_entity(rng, depth), self.some_entity(rng, depth));
                bool_of("(_ in _)", vec![a, b])
            }
            15 => {
                let of = self.some_entity(rng, depth);
                // Some chains are long.
                let count = if chance(rng, 10) { rng.usize(20..70) } else { rng.usize(1..4) };
                let ty = rng.usize(0..self.world.types.len());
                let uid = |rng: &mut Rng| Tree::leaf(Kind::Entity, uid_text(&self.world.uid(rng, ty)));
                let list = (0..count).map(|_| uid(rng)).collect();
                bool_of("(_ in _)", vec![of, Tree::joined(Kind::Set, "[", ", ", "]", list)])
            }
            16 => {
                let ty = &self.world.types[rng.usize(0..self.world.types.len())].name;
                let of = self.some_entity(rng, depth);
                if rng.bool() {
                    return bool_of(&format!("(_ is {ty})"), vec![of]);
                }
                let above = self.some_entity(rng, depth);
                bool_of(&format!("(_ is {ty} in _)"), vec![of, above])
            }
            17 => {
                let paths: Vec<&Path> = self.paths.iter().filter(|path| !path.guards.is_empty()).collect();
                if paths.is_empty() {
                    return Tree::leaf(Kind::Bool, "(context has nothing)");
                }
                let guards = &pick(rng, &paths).guards;
                Tree::leaf(Kind::Bool, pick(rng, guards).clone())
            }
            18..20 => {
                let element = self.some_type(rng);
                let set = Ty::Set(Box::new(element.clone()));
                let of = self.expr(rng, &set, depth);
                match rng.u32(0..4) {
                    0 => bool_of("_.isEmpty()", vec![of]),
                    1 => {
                        let wanted = self.expr(rng, &element, depth);
                        bool_of("_.contains(_)", vec![of, wanted])
                    }
                    method => {
                        let other = self.expr(rng, &set, depth);
                        bool_of(if method == 2 { "_.containsAll(_)" } else { "_.containsAny(_)" }, vec![of, other])
                    }
                }
            }
            20 => {
                let (of, key) = (self.some_entity(rng, depth), self.expr(rng, &Ty::Text, depth));
                bool_of("_.hasTag(_)", vec![of, key])
            }
            21 => {
                // Some chains of alternatives are long.
                let count = if chance(rng, 20) { rng.usize(20..60) } else { 3 };
                let ty = self.some_type(rng);
                let of = self.expr(rng, &ty, 0);
                let is = |rng: &mut Rng| {
                    Tree::of(Kind::Bool, "_ == _", [of.clone(), Tree::leaf(kind(&ty), self.world.literal(rng, &ty))])
                };
                let all = (0..count).map(|_| is(rng)).collect();
                Tree::joined(Kind::Bool, "(", if rng.bool() { " || " } else { " && " }, ")", all)
            }
            22 => Tree::leaf(Kind::Bool, if rng.bool() { "true" } else { "false" }),
            _ => match self.path(rng, |ty| *ty == Ty::Bool) {
                Some(path) => path,
                None => Tree::leaf(Kind::Bool, format!("(action in {})", self.action)),
            },
        }
    }
}
