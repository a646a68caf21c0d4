"""What engines that speak Docker's API have in common: Docker, Podman, Docker Swarm.

`answers` is what the API answers, `translate` says what both sides mean, `errors` what refusals mean, `health` decides
readiness from checks, `probe` performs them, `images` brings images, `frames` reads logs, and `wire` talks. Which
containers there should be, and who makes them, is the business of the engines.
"""
