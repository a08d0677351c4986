# The rules that come with tflint; it needs no download, and no cloud's plugin.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
