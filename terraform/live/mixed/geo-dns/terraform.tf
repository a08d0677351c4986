terraform {
  required_version = ">= 1.11.0"

  # One state per root and region. `region` passes path=; for a shared state put
  # another backend here and its settings into REGION_BACKEND.
  backend "local" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.25.0, < 7.0.0"
    }
  }
}

provider "aws" {
  region = var.aws_region
}
