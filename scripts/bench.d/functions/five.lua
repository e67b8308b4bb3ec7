return function(event)
  local d = event.data
  return {
    repo = d.repository.full_name,
    branch = (string.gsub(d.ref, '^refs/heads/', '')),
    pusher = d.pusher.name,
    commit_count = #d.commits,
    message = d.head_commit.message,
  }
end
