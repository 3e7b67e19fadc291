//! Code generation: expressions to instructions.

use crate::layout::Layout;
use crate::tables::Tables;
use std::sync::Arc;
use ztfast_bundle::{Field, Node};
use ztfast_cedar::ir::{Binary, Datum, Expr, Ext, Unary, Var};
use ztfast_vm::{ARENA_VALUES, ExtOp, Instr, Op, STACK_VALUES, Value};

/// Generate code for an expression, or say why Cedar has to evaluate it.
pub(crate) fn generate(expr: &Expr, layout: &Layout, tables: &mut Tables) -> Result<Vec<Instr>, Arc<str>> {
    let mut codegen = Codegen { layout, tables, code: Vec::new(), depth: 0, deepest: 0, built: 0 };
    codegen.emit(expr)?;
    if codegen.deepest > STACK_VALUES {
        return Err(format!("it needs a stack of {} values, more than {STACK_VALUES}", codegen.deepest).into());
    }
    if codegen.built > ARENA_VALUES {
        return Err(format!("it builds sets and records of {} values, more than {ARENA_VALUES}", codegen.built).into());
    }
    let Codegen { code, deepest, built, tables, .. } = codegen;
    tables.scratch = (tables.scratch.0.max(deepest), tables.scratch.1.max(built));
    Ok(code)
}

struct Codegen<'a> {
    layout: &'a Layout,
    tables: &'a mut Tables,
    code: Vec<Instr>,
    /// The current depth of the stack, and its maximum.
    depth: usize,
    deepest: usize,
    /// The values that the sets and records built so far may take. Each instruction runs at most once.
    built: usize,
}

type Emitted = Result<(), Arc<str>>;

impl Codegen<'_> {
    /// Emit code that pushes the expression's value.
    fn emit(&mut self, expr: &Expr) -> Emitted {
        if let Some(value) = constant(expr) {
            let value = self.tables.value(&value);
            self.constant(value);
            return Ok(());
        }
        match expr {
            Expr::Datum(_) => unreachable!("constants are handled above"),
            Expr::Error => self.push(Op::Error, 0),
            Expr::Opaque(reason) => return Err(reason.clone()),
            Expr::Var(Var::Principal) => self.push(Op::Principal, 0),
            Expr::Var(Var::Resource) => self.push(Op::Resource, 0),
            Expr::Var(Var::Action) => return Err("it reads the action, which was not filled in".into()),
            Expr::Var(Var::Context) => self.record(&self.layout.fields),
            Expr::And(a, b) => self.short_circuit(Op::AndThen, a, b)?,
            Expr::Or(a, b) => self.short_circuit(Op::OrElse, a, b)?,
            Expr::If(test, then, otherwise) => {
                self.emit(test)?;
                let to_else = self.jump(Op::Branch, 1);
                self.emit(then)?;
                let to_end = self.jump(Op::Jump, 0);
                self.depth -= 1;
                self.land(to_else);
                self.emit(otherwise)?;
                self.land(to_end);
            }
            Expr::Fails(a) => {
                // An error drops all values, which must then be those of `a` alone.
                if !self.code.is_empty() {
                    return Err("it asks for an error within a condition".into());
                }
                self.emit(a)?;
                self.apply(Op::Fails, 0, 1);
            }
            Expr::Unary(op, a) => {
                self.emit(a)?;
                let op = match op {
                    Unary::Not => Op::Not,
                    Unary::Neg => Op::Neg,
                    Unary::IsEmpty => Op::IsEmpty,
                };
                self.apply(op, 0, 1);
            }
            Expr::Binary(op, a, b) => {
                self.emit(a)?;
                self.emit(b)?;
                self.apply(binary(*op), 0, 2);
            }
            Expr::Ext(method, operands) => {
                let method = extension(*method);
                // Cedar reports a wrong number of operands when it evaluates the call.
                if operands.len() != method.operands() {
                    self.push(Op::Error, 0);
                    return Ok(());
                }
                operands.iter().try_for_each(|operand| self.emit(operand))?;
                self.apply(Op::Ext, method as u32, operands.len());
            }
            Expr::GetAttr(operand, name) => self.get_attr(operand, name)?,
            Expr::HasAttr(operand, path) => self.has_attr(operand, path)?,
            Expr::Like(a, pattern) => {
                self.emit(a)?;
                let pattern = self.tables.pattern(pattern);
                self.apply(Op::Like, pattern, 1);
            }
            Expr::Is(a, ty) => {
                self.emit(a)?;
                let ty = self.tables.type_number(ty);
                self.apply(Op::Is, ty, 1);
            }
            Expr::Set(elements) => {
                elements.iter().try_for_each(|element| self.emit(element))?;
                self.built += elements.len();
                self.apply(Op::MakeSet, count(elements.len()), elements.len());
            }
            Expr::Record(entries) => {
                let mut entries: Vec<(u32, &Expr)> =
                    entries.iter().map(|(key, value)| (self.tables.string(key), value)).collect();
                entries.sort_unstable_by_key(|&(key, _)| key);
                for &(key, value) in &entries {
                    self.constant(Value::string(u64::from(key)));
                    self.emit(value)?;
                }
                self.make_record(entries.len());
            }
        }
        Ok(())
    }

    fn short_circuit(&mut self, op: Op, a: &Expr, b: &Expr) -> Emitted {
        self.emit(a)?;
        let to_end = self.jump(op, 1);
        self.emit(b)?;
        self.apply(Op::NeedBool, 0, 1);
        self.land(to_end);
        Ok(())
    }

    fn get_attr(&mut self, operand: &Expr, name: &Arc<str>) -> Emitted {
        let layout = self.layout;
        let Some(fields) = layout.fields_of(operand) else {
            self.emit(operand)?;
            let name = self.tables.string(name);
            self.apply(Op::GetAttr, name, 1);
            return Ok(());
        };
        self.need_records(operand);
        match fields.iter().find(|field| field.name == **name).map(|field| &field.node) {
            Some(Node::Leaf { slot, .. }) => self.push(Op::Slot, *slot),
            Some(Node::Record { presence, fields }) => {
                if let Some(slot) = presence {
                    self.code.push(Instr::new(Op::NeedSlot, *slot));
                }
                self.record(fields);
            }
            None => self.push(Op::Error, 0),
        }
        Ok(())
    }

    /// Emit `operand has a.b.c` as `operand has a && operand.a has b && operand.a.b has c`.
    fn has_attr(&mut self, operand: &Expr, path: &[Arc<str>]) -> Emitted {
        let mut operand = operand.clone();
        let mut to_end = Vec::new();
        for (at, name) in path.iter().enumerate() {
            if at > 0 {
                to_end.push(self.jump(Op::AndThen, 1));
            }
            self.has(&operand, name)?;
            operand = Expr::GetAttr(Arc::new(operand), name.clone());
        }
        for jump in to_end {
            self.land(jump);
        }
        Ok(())
    }

    fn has(&mut self, operand: &Expr, name: &Arc<str>) -> Emitted {
        let layout = self.layout;
        let Some(fields) = layout.fields_of(operand) else {
            self.emit(operand)?;
            let name = self.tables.string(name);
            self.apply(Op::HasAttr, name, 1);
            return Ok(());
        };
        self.need_records(operand);
        match fields.iter().find(|field| field.name == **name).map(|field| &field.node) {
            Some(Node::Leaf { slot, .. } | Node::Record { presence: Some(slot), .. }) => self.push(Op::HasSlot, *slot),
            Some(Node::Record { presence: None, .. }) => self.constant(Value::bool(true)),
            None => self.constant(Value::bool(false)),
        }
        Ok(())
    }

    /// Emit a failure for each optional record on the way to `operand` that is absent.
    fn need_records(&mut self, operand: &Expr) {
        let Expr::GetAttr(outer, name) = operand else { return };
        self.need_records(outer);
        let layout = self.layout;
        let field = layout.fields_of(outer).and_then(|fields| fields.iter().find(|field| field.name == **name));
        if let Some(Node::Record { presence: Some(slot), .. }) = field.map(|field| &field.node) {
            self.code.push(Instr::new(Op::NeedSlot, *slot));
        }
    }

    /// Emit code that builds a whole record of the context.
    fn record(&mut self, fields: &[Field]) {
        let mut fields: Vec<&Field> = fields.iter().collect();
        fields.sort_unstable_by_key(|field| field.key);
        for field in &fields {
            self.constant(Value::string(u64::from(field.key)));
            match &field.node {
                Node::Leaf { slot, .. } => self.push(Op::SlotOrMissing, *slot),
                Node::Record { presence: None, fields } => self.record(fields),
                Node::Record { presence: Some(slot), fields } => {
                    self.push(Op::HasSlot, *slot);
                    let to_missing = self.jump(Op::Branch, 1);
                    self.record(fields);
                    let to_end = self.jump(Op::Jump, 0);
                    self.depth -= 1;
                    self.land(to_missing);
                    self.push(Op::Missing, 0);
                    self.land(to_end);
                }
            }
        }
        self.make_record(fields.len());
    }

    fn make_record(&mut self, pairs: usize) {
        self.built += 2 * pairs;
        self.apply(Op::MakeRecord, count(pairs), 2 * pairs);
    }

    fn constant(&mut self, value: Value) {
        let place = self.tables.constant(value);
        self.push(Op::Const, place);
    }

    fn push(&mut self, op: Op, imm: u32) {
        self.code.push(Instr::new(op, imm));
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    /// Emit an instruction that takes `operands` values and leaves one.
    fn apply(&mut self, op: Op, imm: u32, operands: usize) {
        self.depth -= operands;
        self.push(op, imm);
    }

    /// Emit a jump whose target is set later. If it is not taken, it has consumed `operands` values.
    fn jump(&mut self, op: Op, operands: usize) -> usize {
        self.code.push(Instr::new(op, 0));
        self.depth -= operands;
        self.code.len() - 1
    }

    fn land(&mut self, jump: usize) {
        self.code[jump].imm = count(self.code.len());
    }
}

/// Return the value of an expression that consists of constants.
fn constant(expr: &Expr) -> Option<Datum> {
    match expr {
        Expr::Datum(value) => Some(value.clone()),
        Expr::Set(elements) => elements.iter().map(constant).collect::<Option<_>>().map(Datum::Set),
        Expr::Record(entries) => entries
            .iter()
            .map(|(key, value)| Some((key.clone(), constant(value)?)))
            .collect::<Option<_>>()
            .map(Datum::Record),
        _ => None,
    }
}

/// Return the reason why Cedar has to evaluate the expression, if there is one.
pub(crate) fn opaque(expr: &Expr) -> Option<Arc<str>> {
    if let Expr::Opaque(reason) = expr {
        return Some(reason.clone());
    }
    let mut found = None;
    expr.children(&mut |child| found = found.take().or_else(|| opaque(child)));
    found
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("an expression that was read from a file has fewer parts")
}

const fn binary(op: Binary) -> Op {
    match op {
        Binary::Eq => Op::Eq,
        Binary::Less => Op::Less,
        Binary::LessEq => Op::LessEq,
        Binary::Add => Op::Add,
        Binary::Sub => Op::Sub,
        Binary::Mul => Op::Mul,
        Binary::In => Op::In,
        Binary::Contains => Op::Contains,
        Binary::ContainsAll => Op::ContainsAll,
        Binary::ContainsAny => Op::ContainsAny,
        Binary::GetTag => Op::GetTag,
        Binary::HasTag => Op::HasTag,
    }
}

const fn extension(method: Ext) -> ExtOp {
    match method {
        Ext::DecimalLessThan => ExtOp::DecimalLessThan,
        Ext::DecimalLessThanOrEqual => ExtOp::DecimalLessThanOrEqual,
        Ext::DecimalGreaterThan => ExtOp::DecimalGreaterThan,
        Ext::DecimalGreaterThanOrEqual => ExtOp::DecimalGreaterThanOrEqual,
        Ext::IsIpv4 => ExtOp::IsIpv4,
        Ext::IsIpv6 => ExtOp::IsIpv6,
        Ext::IsLoopback => ExtOp::IsLoopback,
        Ext::IsMulticast => ExtOp::IsMulticast,
        Ext::IsInRange => ExtOp::IsInRange,
        Ext::Offset => ExtOp::Offset,
        Ext::DurationSince => ExtOp::DurationSince,
        Ext::ToDate => ExtOp::ToDate,
        Ext::ToTime => ExtOp::ToTime,
        Ext::ToMilliseconds => ExtOp::ToMilliseconds,
        Ext::ToSeconds => ExtOp::ToSeconds,
        Ext::ToMinutes => ExtOp::ToMinutes,
        Ext::ToHours => ExtOp::ToHours,
        Ext::ToDays => ExtOp::ToDays,
    }
}
