//! What belongs to a provider beside its module: nothing of it may be forgotten.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use switchboard_providers::{ALL, provider_at};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The routes of the template's hooks: the lines `Method: POST, Path: /…` below the `CodeUri` of one.
fn template_routes() -> BTreeSet<(String, String)> {
    let value = |line: &str, name: &str| {
        let rest = line.split(name).nth(1)?;
        Some(rest.trim_start().split([',', ' ', '}']).next()?.to_owned())
    };
    let template = read("template.yaml");
    let mut is_hook = false;
    let mut routes = BTreeSet::new();
    for line in template.lines() {
        if let Some(code) = value(line, "CodeUri: target/lambda/") {
            is_hook = ALL.iter().any(|provider| code == format!("{}/", provider.name()));
        }
        if let (true, Some(method), Some(path)) =
            (is_hook, value(line, "Method:"), value(line, "Path:"))
        {
            routes.insert((method, path));
        }
    }
    routes
}

#[test]
fn every_provider_has_a_function_a_page_and_a_line_in_the_changelog() {
    let (template, changelog) = (read("template.yaml"), read("CHANGELOG.md"));
    for provider in ALL {
        let name = provider.name();
        let binary = read(&format!("functions/hooks/src/bin/{name}.rs"));
        assert!(binary.contains("switchboard_hooks::run("), "{name}");
        assert!(template.contains(&format!("CodeUri: target/lambda/{name}/")), "{name}");
        assert!(changelog.contains(&format!("(docs/providers/{name}.md)")), "{name}");
        let page = read(&format!("docs/providers/{name}.md"));
        for (_, path) in provider.routes() {
            assert!(page.contains(path), "the page of {name} does not tell of {path}");
        }
    }
}

#[test]
fn the_template_has_every_route_and_no_other() {
    let routes = ALL.iter().flat_map(|provider| provider.routes());
    let routes: BTreeSet<_> =
        routes.map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(template_routes(), routes);
}

#[test]
fn a_path_leads_to_its_provider_and_to_no_other() {
    for provider in ALL {
        for (_, path) in provider.routes() {
            for before in ["", "/prod", "/hooks/v1"] {
                let found = provider_at(&format!("{before}{path}")).unwrap();
                assert_eq!(found.name(), provider.name(), "{before}{path}");
            }
        }
    }
    assert!(provider_at("/calls").is_none());
}
