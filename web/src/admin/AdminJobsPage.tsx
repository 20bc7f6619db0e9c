export default function AdminJobsPage() {
  return null;
}
