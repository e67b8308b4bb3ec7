export default (event) => {
  const d = event.data;
  return {
    repo: d.repository.full_name,
    branch: d.ref.replace('refs/heads/', ''),
    pusher: d.pusher.name,
    commit_count: d.commits.length,
    message: d.head_commit.message,
  };
};
