# Pure: no resources. Renders what a node needs; the cloud modules hand it to the
# cloud as user data, the ssh modules copy it.
