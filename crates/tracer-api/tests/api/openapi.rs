//! `/openapi.json`: the document is what is served.

use serde_json::Value;

use super::helpers::{send, start};

#[tokio::test]
async fn the_document_is_known() {
    let service = start().await;
    let mut document = service.get("/openapi.json").await.expect(200);
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn every_path_of_the_document_answers_with_a_status_of_the_document() {
    let service = start().await;
    let document = service.get("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template.replace(['{', '}'], "");
        for method in ["get", "post", "put"].into_iter().filter(|method| item.get(method).is_some()) {
            // The body is not waited for: that of a stream has no end.
            let answer = service.request(&method.to_uppercase(), &path).send().await.unwrap();
            let status = answer.status().as_u16();
            let known: Vec<&String> = item[method]["responses"].as_object().unwrap().keys().collect();
            assert!(known.contains(&&status.to_string()), "{method} {path} answered {status}");
            let described =
                item[method]["responses"].as_object().unwrap().values().all(|r| r["description"].is_string());
            assert!(described, "{method} {path} has an answer without a description");
            assert!(![405, 500].contains(&status), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_is_needed_where_the_document_says_so() {
    let service = start().await;
    let document = service.get("/openapi.json").await.expect(200);
    let mut told = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "put"].into_iter().filter(|method| item[method]["requestBody"].is_object()) {
            let required = item[method]["requestBody"]["required"] == true;
            let answer =
                send(service.request(&method.to_uppercase(), &template.replace(['{', '}'], ""))).await;
            assert_eq!(answer.status == 400, required, "{method} {template} answered {}", answer.text);
            told.push(required);
        }
    }
    assert!(told.contains(&true) && told.contains(&false));
}

#[tokio::test]
async fn the_two_answers_about_a_step_are_told_apart_by_its_status() {
    let document = start().await.get("/openapi.json").await.expect(200);
    let schemas = &document["components"]["schemas"];
    let statuses = |name: &str| {
        assert!(schemas[name]["required"].as_array().unwrap().contains(&"status".into()), "{name}");
        schemas[name]["properties"]["status"]["enum"].as_array().unwrap().clone()
    };
    let either: Vec<_> = schemas["StepAnswer"]["oneOf"].as_array().unwrap().iter().collect();
    assert_eq!(either.len(), 2);
    assert!(!statuses("StepEndedView").contains(&statuses("StepStartedView")[0]));
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let service = start().await;
    let document = service.get("/openapi.json").await.expect(200);
    let mut references = Vec::new();
    gather(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn gather(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| gather(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
