//! regorus: the policy and its data loaded once, inputs made beforehand; by its interpreter and by its virtual machine.

use crate::outcome::Outcome;
use crate::serve::Peer;
use crate::world;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::{CompiledPolicy, Engine, Value};
use std::path::Path;

const RULE: &str = "data.trading.allow";

fn inputs(folder: &Path) -> Outcome<Vec<Value>> {
    let input = |order: &world::Order| {
        let fields: [(&str, Value); 4] = [
            ("algo", order.0.as_str().into()),
            ("instrument", order.1.as_str().into()),
            ("notional", order.2.into()),
            ("qty", order.3.into()),
        ];
        let mut input = Value::new_object();
        for (name, value) in fields {
            input.as_object_mut()?.insert(name.into(), value);
        }
        Ok(input)
    };
    world::orders(folder)?.iter().map(input).collect()
}

fn compiled(folder: &Path) -> Outcome<(CompiledPolicy, Value)> {
    let mut engine = Engine::new();
    engine.add_policy("policy.rego".into(), world::text(folder, "policy.rego")?)?;
    let data = Value::from_json_str(&world::text(folder, "data.json")?)?;
    engine.add_data(data.clone())?;
    Ok((engine.compile_with_entrypoint(&RULE.into())?, data))
}

/// The interpreter over a policy compiled for one rule.
pub struct Interpreter(CompiledPolicy);

impl Peer for Interpreter {
    type Request = Value;

    fn allows(&mut self, input: &Value) -> bool {
        matches!(self.0.eval_with_input(input.clone()), Ok(Value::Bool(true)))
    }
}

/// Set up the interpreter.
pub fn interpreter(folder: &Path) -> Outcome<(Interpreter, Vec<Value>)> {
    let (policy, _) = compiled(folder)?;
    Ok((Interpreter(policy), inputs(folder)?))
}

/// The virtual machine over the program of one rule.
pub struct Machine(RegoVM);

impl Peer for Machine {
    type Request = Value;

    fn allows(&mut self, input: &Value) -> bool {
        self.0.set_input(input.clone());
        matches!(self.0.execute(), Ok(Value::Bool(true)))
    }
}

/// Set up the virtual machine.
pub fn machine(folder: &Path) -> Outcome<(Machine, Vec<Value>)> {
    let (policy, data) = compiled(folder)?;
    let program = Compiler::compile_from_policy(&policy, &[RULE])?;
    let mut machine = RegoVM::new_with_policy(policy);
    machine.load_program(program);
    machine.set_data(data)?;
    Ok((Machine(machine), inputs(folder)?))
}
