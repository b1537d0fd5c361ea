//! Writes the template of every stage into a folder, as JSON and as YAML, and those of 200 random stacks into the folder
//! `random` in it: `cargo run -p infra --example templates -- DIR`.
//!
//! For linters. `cargo xtask synth` prints the same templates with the digests of real packages; here they are made up, so
//! that no function is compiled.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use infra_cdk::{Graph, Value, synth};
use infra_engine::sim::World;
use infra_engine::sim::stacks::Shape;

/// How many stacks chance makes.
const RANDOM_STACKS: usize = 200;
/// Which ones.
const SEED: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder?")?;
    std::fs::create_dir_all(&folder)?;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("stages"))? {
        let file = file?.path();
        let name = file.file_stem().and_then(|stem| stem.to_str()).ok_or("no stage name")?;
        let stage = infra::stage(name, None, &std::fs::read_to_string(&file)?)?;
        let graph = infra::chat(&stage)?;
        let template = synth(&graph, &made_up_digests(&graph))?;
        std::fs::write(folder.join(format!("{name}.json")), template.to_json()?)?;
        std::fs::write(folder.join(format!("{name}.yaml")), template.to_yaml()?)?;
    }
    let random = folder.join("random");
    std::fs::create_dir_all(&random)?;
    let chance = World::new(SEED).map_err(|error| error.to_string())?;
    for number in 0..RANDOM_STACKS {
        let graph = Shape::random(&chance).graph()?;
        let template = synth(&graph, &made_up_digests(&graph))?;
        std::fs::write(random.join(format!("{number:03}.yaml")), template.to_yaml()?)?;
    }
    Ok(())
}

fn made_up_digests(graph: &Graph) -> BTreeMap<String, String> {
    let properties = graph
        .resources()
        .values()
        .flat_map(|resource| resource.properties.values());
    properties
        .filter_map(|value| {
            let Value::Package(binary) = value else { return None };
            Some((binary.clone(), "0123456789abcdef".repeat(4)))
        })
        .collect()
}
