/** What stands in the editor of somebody who is here for the first time. */
export const firstQuery = `# The book on the left describes every type.
# Who is signed in on the pages asks as that person.
# Otherwise, under Headers below:
#   { "Authorization": "Bearer <token>" }

query Jobs {
  viewer {
    displayName
    role
  }
  jobs(first: 5) {
    nodes {
      id
      title
      status
      availableActions
    }
  }
}

# Put a job's id in, and follow it while it is executed.
subscription Log {
  jobLogAppended(jobId: "job_…") {
    log {
      timestamp
      type
      message
    }
  }
}
`;
