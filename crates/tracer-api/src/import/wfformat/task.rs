//! The tasks of a file, from either layout of the format.
//!
//! Invariant: a task's parents are indices into the same list, sorted and without repetition.
//! Not here: when a task started.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tracer_core::limits;
use tracer_core::name::StepName;
use tracer_core::time::Micros;

use super::naming;
use super::node::{Fault, Node, Problem};
use crate::fitting::text_value;

/// Where a version of the format keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Up to 1.4: one list holds what a task is and how it ran.
    Joined,
    /// From 1.5 on: a specification, and an execution that refers to it.
    Split,
}

/// A task, before it is known when it started.
#[derive(Debug)]
pub(super) struct Task<'a> {
    /// Where it is specified, for messages.
    pub(super) node: Node<'a>,
    pub(super) id: &'a str,
    pub(super) step_name: String,
    pub(super) duration: Micros,
    pub(super) attributes: BTreeMap<String, Value>,
    pub(super) parents: Vec<usize>,
}

/// What the execution says of each task, and the sizes of the files, where they are listed.
struct Run<'a> {
    tasks: Node<'a>,
    of_task: HashMap<&'a str, Node<'a>>,
    file_bytes: Option<HashMap<&'a str, u64>>,
}

impl Layout {
    /// Returns the layout of a `schemaVersion` that is read here.
    pub(super) fn of_version(version: &str) -> Option<Self> {
        match version {
            "1.4" => Some(Self::Joined),
            "1.5" | "1.6" => Some(Self::Split),
            _ => None,
        }
    }

    /// Returns the object that holds `executedAt` and the makespan.
    pub(super) fn run<'a>(self, workflow: &Node<'a>) -> Result<Node<'a>, Fault> {
        match self {
            Self::Joined => Ok(workflow.clone()),
            Self::Split => workflow
                .optional("execution")?
                .ok_or_else(|| workflow.fault_at("execution", Problem::NotExecuted)),
        }
    }

    /// Returns the name of the member that tells which system ran the workflow.
    pub(super) fn runtime_system(self) -> &'static str {
        match self {
            Self::Joined => "wms",
            Self::Split => "runtimeSystem",
        }
    }

    fn cores(self) -> &'static str {
        match self {
            Self::Joined => "cores",
            Self::Split => "coreCount",
        }
    }
}

/// Reads all tasks, in the order in which they are specified.
pub(super) fn read_all<'a>(workflow: &Node<'a>, layout: Layout) -> Result<Vec<Task<'a>>, Fault> {
    let specified = match layout {
        Layout::Joined => workflow.required("tasks")?,
        Layout::Split => workflow.required("specification")?.required("tasks")?,
    };
    let run = match layout {
        Layout::Joined => None,
        Layout::Split => Some(read_run(workflow)?),
    };
    check_number(&specified)?;
    let mut tasks = Vec::new();
    for node in specified.items()? {
        tasks.push(read_task(node, layout, run.as_ref())?);
    }
    let by_id = index_by_id(&tasks)?;
    if let Some(run) = &run {
        for executed in run.tasks.items()? {
            let id = executed.required("id")?;
            by_id.get(id.text()?).ok_or_else(|| id.fault(Problem::UnknownTask))?;
        }
    }
    link(&mut tasks, &by_id, layout)?;
    Ok(tasks)
}

fn check_number(tasks: &Node<'_>) -> Result<(), Fault> {
    match tasks.len()? {
        0 => Err(tasks.fault(Problem::NoTasks)),
        len if len > limits::IMPORT_STEPS => Err(tasks.fault(Problem::TooManyTasks)),
        _ => Ok(()),
    }
}

fn read_run<'a>(workflow: &Node<'a>) -> Result<Run<'a>, Fault> {
    let tasks = workflow.required("execution")?.required("tasks")?;
    check_number(&tasks)?;
    let mut of_task = HashMap::new();
    for node in tasks.items()? {
        let id = node.required("id")?;
        if of_task.insert(id.text()?, node).is_some() {
            return Err(id.fault(Problem::RepeatedTask));
        }
    }
    let files = workflow.required("specification")?.optional("files")?;
    let file_bytes = files.map(|files| sizes_by_id(&files)).transpose()?;
    Ok(Run { tasks, of_task, file_bytes })
}

fn sizes_by_id<'a>(files: &Node<'a>) -> Result<HashMap<&'a str, u64>, Fault> {
    let mut sizes = HashMap::new();
    for file in files.items()? {
        sizes.insert(file.required("id")?.text()?, file.required("sizeInBytes")?.bytes()?);
    }
    Ok(sizes)
}

fn read_task<'a>(node: Node<'a>, layout: Layout, run: Option<&Run<'a>>) -> Result<Task<'a>, Fault> {
    let name = node.required("name")?;
    let id = match layout {
        Layout::Joined => node.optional("id")?.unwrap_or_else(|| name.clone()),
        Layout::Split => node.required("id")?,
    };
    let (name_text, id_text) = (name.text()?, id.text()?);
    // Ids obey the bounds of names, so that whoever records them need not ask again.
    StepName::new(id_text).map_err(|error| id.fault(error.into()))?;
    let step_name = naming::step_name(name_text, id_text);
    StepName::new(step_name).map_err(|error| name.fault(error.into()))?;

    let (executed, input_bytes) = match run {
        None => (node.clone(), joined_input_bytes(&node)?),
        Some(run) => {
            let executed = run.of_task.get(id_text).ok_or_else(|| node.fault(Problem::TaskNotExecuted))?;
            (executed.clone(), split_input_bytes(&node, run)?)
        }
    };
    let mut attributes = BTreeMap::new();
    let mut keep = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            attributes.insert(key.to_owned(), value);
        }
    };
    keep("input_bytes", input_bytes.map(Value::from));
    keep("cores", executed.optional(layout.cores())?.map(|cores| cores.cores()).transpose()?);
    keep("command", command(&executed)?);
    keep("machine", machine(&executed)?);
    let duration = executed.required("runtimeInSeconds")?.seconds()?;
    Ok(Task { id: id_text, step_name: step_name.to_owned(), duration, attributes, parents: Vec::new(), node })
}

/// Adds the sizes of a task's input files up, where they are known.
fn split_input_bytes(task: &Node<'_>, run: &Run<'_>) -> Result<Option<u64>, Fault> {
    let (Some(inputs), Some(sizes)) = (task.optional("inputFiles")?, &run.file_bytes) else {
        return Ok(None);
    };
    let mut sum = 0_u64;
    for input in inputs.items()? {
        let bytes = sizes.get(input.text()?).ok_or_else(|| input.fault(Problem::UnknownFile))?;
        sum = sum.saturating_add(*bytes);
    }
    Ok(Some(sum))
}

/// Does the same where every task lists its files, inputs and outputs alike, with their sizes.
fn joined_input_bytes(task: &Node<'_>) -> Result<Option<u64>, Fault> {
    let Some(files) = task.optional("files")? else { return Ok(None) };
    let mut sum = 0_u64;
    for file in files.items()? {
        if file.required("link")?.text()?.eq_ignore_ascii_case("input") {
            // Files converted from older versions still say `size`.
            let size = file.optional("size")?;
            let size = size.map_or_else(|| file.required("sizeInBytes"), Ok)?;
            sum = sum.saturating_add(size.bytes()?);
        }
    }
    Ok(Some(sum))
}

fn command(executed: &Node<'_>) -> Result<Option<Value>, Fault> {
    let Some(command) = executed.optional("command")? else { return Ok(None) };
    let mut words = Vec::new();
    if let Some(program) = command.optional("program")? {
        words.push(program.text()?);
    }
    if let Some(arguments) = command.optional("arguments")? {
        for argument in arguments.items()? {
            words.push(argument.text()?);
        }
    }
    Ok((!words.is_empty()).then(|| text_value(&words.join(" "))))
}

/// Returns the machine a task ran on, or its machines separated by commas.
fn machine(executed: &Node<'_>) -> Result<Option<Value>, Fault> {
    if let Some(machine) = executed.optional("machine")? {
        return Ok(Some(text_value(machine.text()?)));
    }
    let mut names = Vec::new();
    if let Some(machines) = executed.optional("machines")? {
        for machine in machines.items()? {
            names.push(machine.text()?);
        }
    }
    Ok((!names.is_empty()).then(|| text_value(&names.join(", "))))
}

fn index_by_id<'a>(tasks: &[Task<'a>]) -> Result<HashMap<&'a str, usize>, Fault> {
    let mut by_id = HashMap::with_capacity(tasks.len());
    for (index, task) in tasks.iter().enumerate() {
        if by_id.insert(task.id, index).is_some() {
            return Err(task.node.fault(Problem::RepeatedTask));
        }
    }
    Ok(by_id)
}

/// Fills in the parents. Some writers declare a dependency at one of its ends only, so both count.
fn link(tasks: &mut [Task<'_>], by_id: &HashMap<&str, usize>, layout: Layout) -> Result<(), Fault> {
    let by_name = match layout {
        Layout::Joined => index_by_name(tasks)?,
        Layout::Split => HashMap::new(),
    };
    let find = |reference: &Node<'_>| {
        let text = reference.text()?;
        let known = by_id.get(text).copied().or_else(|| by_name.get(text).copied().flatten());
        known.ok_or_else(|| reference.fault(Problem::UnknownTask))
    };
    let mut dependencies = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        if let Some(parents) = task.node.optional("parents")? {
            for parent in parents.items()? {
                dependencies.push((index, find(&parent)?));
            }
        }
        if let Some(children) = task.node.optional("children")? {
            for child in children.items()? {
                dependencies.push((find(&child)?, index));
            }
        }
    }
    dependencies.sort_unstable();
    dependencies.dedup();
    for (child, parent) in dependencies {
        if let Some(task) = tasks.get_mut(child) {
            task.parents.push(parent);
        }
    }
    Ok(())
}

/// Up to 1.4, tasks refer to each other by name. A name that several bear refers to none of them.
fn index_by_name<'a>(tasks: &[Task<'a>]) -> Result<HashMap<&'a str, Option<usize>>, Fault> {
    let mut by_name = HashMap::with_capacity(tasks.len());
    for (index, task) in tasks.iter().enumerate() {
        let name = task.node.required("name")?.text()?;
        by_name.entry(name).and_modify(|unique| *unique = None).or_insert(Some(index));
    }
    Ok(by_name)
}
