output "user_data" {
  description = "The cloud-init document. Holds references to secrets, never a secret."
  value       = local.user_data

  precondition {
    condition     = length(base64gzip(local.user_data)) <= 16384
    error_message = "user_data: packed it is larger than the 16 KB that AWS takes."
  }
}

output "user_data_packed" {
  description = "The same, gzipped and in base64, for launch templates with a tight limit."
  value       = base64gzip(local.user_data)
}

output "files" {
  description = "Every file of the node: path, mode and content."
  value       = local.files
}

output "install_script" {
  description = "A shell script that lays the files on a machine that is there already."
  value = join("\n", concat(
    ["set -eu", "install -d -m 0755 ${join(" ", distinct([for path in keys(local.files) : dirname(path)]))}"],
    flatten([for path, f in local.files : [
      "base64 -d >${path}.new <<'END'",
      base64encode(f.content),
      "END",
      "chmod ${f.mode} ${path}.new",
      "mv ${path}.new ${path}",
    ]]),
    [""],
  ))
}

output "unit" {
  description = "Name of the systemd unit."
  value       = local.unit
}

output "bootstrap" {
  description = "The command that makes a node of a machine that has the files."
  value       = "${local.lib}/nearside-bootstrap"
}

output "fingerprint" {
  description = "Changes whenever any file of the node does."
  value       = sha256(jsonencode(local.files))
}

output "ports" {
  description = "The ports the role listens on."
  value = local.edge ? {
    public = var.public_port, ops = local.ops_port, gossip = var.public_port + 2, peer = var.public_port + 3, tls = local.tls_port
    } : {
    admin = var.public_port, sync = var.public_port + 1, ops = local.ops_port
  }
}
