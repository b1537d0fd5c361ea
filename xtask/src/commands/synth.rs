//! `cargo xtask synth`: the CloudFormation template of the same stack. Makes no call.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra_cdk::{Delivery, asset_key};
use infra_engine::{Package, Packages};

use crate::cli::{Synth, TemplateFormat};
use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::package;
use crate::target::Target;
use crate::ui::{self, YELLOW, paint};
use crate::workspace::write_atomically;

/// Runs it.
///
/// # Errors
/// What does not compile, or cannot be written as a template.
pub(crate) async fn run(app: &App, options: &Synth) -> Result<Exit, Failure> {
    let target = Target::declared(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let names = package::binaries(&target.graph);
    let packages = app
        .interrupt
        .or(Box::pin(package::build(&app.workspace, &target.stage, &names)))
        .await?;
    let digests = digests(&packages)?;
    let cannot = |error| Failure::new(format!("{} has no template", target.graph.stack())).because(error);
    let template = infra_cdk::synth(&target.graph, &digests).map_err(cannot)?;
    let format = options.format.unwrap_or(if app.wants_json() {
        TemplateFormat::Json
    } else {
        TemplateFormat::Yaml
    });
    let text = match format {
        TemplateFormat::Yaml => template.to_yaml(),
        TemplateFormat::Json => template.to_json(),
    }
    .map_err(cannot)?;
    match Delivery::of(text.len()).map_err(cannot)? {
        Delivery::Inline => {}
        Delivery::Upload => ui::say(paint(
            YELLOW,
            format!(
                "The template has {}: CloudFormation takes it from an S3 bucket only (aws cloudformation deploy --s3-bucket)",
                ui::size(text.len())
            ),
        )),
    }
    if let Some(folder) = &options.assets {
        let folder = std::path::absolute(folder)
            .map_err(|error| Failure::new(format!("cannot find {}", folder.display())).because(error))?;
        write_assets(&folder, &target.graph.stack().app, &packages, &digests)?;
        ui::say(format!(
            "{} packages are in {}; upload them with: aws s3 sync {} s3://BUCKET",
            packages.len(),
            folder.display(),
            folder.display()
        ));
    }
    ui::data(text.trim_end())?;
    Ok(Exit::Ok)
}

/// Returns the digests of packages in hexadecimal; Lambda's own are base64.
pub(crate) fn digests(packages: &Packages) -> Result<BTreeMap<String, String>, Failure> {
    packages
        .iter()
        .map(|(name, Package { sha256, .. })| {
            let bytes = STANDARD
                .decode(sha256)
                .map_err(|error| Failure::new(format!("package `{name}` has no valid digest")).because(error))?;
            Ok((name.clone(), bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
        })
        .collect()
}

fn write_assets(
    folder: &Path,
    app: &str,
    packages: &Packages,
    digests: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    for (name, digest) in digests {
        let path = folder.join(asset_key(app, digest));
        write_atomically(&path, &packages[name].zip)
            .map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn assets_lie_where_the_template_looks_for_them() {
        let zip: &[u8] = b"zip";
        let hex = "93efe04abbd9f5a8e03a9c6cb3af9a3e0b5a6a0d7bd9b0f4d5cdf1c1e5b7e1a0";
        let bytes: Vec<_> = (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let package = Package {
            sha256: STANDARD.encode(bytes),
            zip: zip.into(),
        };
        let packages = Packages::from([("connect".to_owned(), package)]);
        let digests = digests(&packages).unwrap();
        assert_eq!(digests["connect"], hex);
        let folder = tempfile::tempdir().unwrap();
        write_assets(folder.path(), "chat", &packages, &digests).unwrap();
        assert_eq!(
            std::fs::read(folder.path().join(format!("chat/{hex}.zip"))).unwrap(),
            zip
        );
    }
}
