//! What a provider needs beside its module: a function, routes, a page.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use switchboard_providers::{ALL, provider_at};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The template's functions by the name of their binary, with their routes.
fn deployed() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let template = switchboard_template::read(&root()).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let of_type = |name: &'static str| resources.iter().filter(move |(_, one)| one["Type"] == name);
    let mut functions = BTreeMap::new();
    for (id, function) in of_type("AWS::Serverless::Function") {
        let code = function["Properties"]["CodeUri"].as_str().unwrap();
        let name = code.strip_prefix("target/lambda/").unwrap().trim_end_matches('/');
        let is_own = |integration: &str| {
            let integration = &resources[integration]["Properties"]["IntegrationUri"];
            integration["Fn::GetAtt"][0] == **id
        };
        let routes = of_type("AWS::ApiGatewayV2::Route").filter_map(|(_, route)| {
            let route = &route["Properties"];
            let integration = route["Target"]["Fn::Join"][1][1]["Ref"].as_str().unwrap();
            let (method, path) = route["RouteKey"].as_str().unwrap().split_once(' ').unwrap();
            is_own(integration).then(|| (method.to_owned(), path.to_owned()))
        });
        functions.insert(name.to_owned(), routes.collect());
    }
    functions
}

#[test]
fn every_provider_has_a_function_and_a_page() {
    for provider in ALL {
        let name = provider.name();
        let binary = read(&format!("functions/hooks/src/bin/{name}.rs"));
        assert!(binary.contains("switchboard_hooks::run("), "{name}");
        let page = read(&format!("docs/providers/{name}.md"));
        for (_, path) in provider.routes() {
            assert!(page.contains(path), "the page of {name} does not name {path}");
        }
    }
}

#[test]
fn the_function_of_a_provider_has_its_routes_and_no_other() {
    let deployed = deployed();
    for provider in ALL {
        let owned = |(method, path): &(&str, &str)| ((*method).to_owned(), (*path).to_owned());
        let routes: BTreeSet<_> = provider.routes().iter().map(owned).collect();
        assert_eq!(deployed.get(provider.name()), Some(&routes), "{}", provider.name());
    }
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
