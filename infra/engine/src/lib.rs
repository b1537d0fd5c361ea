//! Planner, executor and record of deployments; knows no AWS SDK.
