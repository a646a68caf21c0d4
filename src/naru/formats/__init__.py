"""Apps as files: Compose, Kubernetes YAML and Marathon JSON; reading, writing, and what is lost on the way.

Every reader returns workloads and the losses: what the file asks for and Naru cannot give. Nothing is dropped without
a loss that names it. This room never talks to anyone: text goes in, values come out, and where one file names another
the caller hands in what reads it.
"""
