terraform {
  required_version = ">= 1.11.0"

  # One state per root and region. `region` passes path=; for a shared state put
  # another backend here and its settings into REGION_BACKEND.
  backend "local" {}

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 5.0.0, < 6.0.0"
    }
  }
}

provider "azurerm" {
  features {}
  subscription_id = var.subscription_id
}
